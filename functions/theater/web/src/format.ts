import type { Override, Unit } from './types';

export function number(value: number, digits = 3): string {
  if (value === 0) return '0';
  const places = Math.max(0, digits - Math.ceil(Math.log10(Math.abs(value) + 1e-12)));
  return value.toLocaleString('en', { maximumFractionDigits: Math.min(places, 6) });
}

export function measure(value: number, unit: Unit): string {
  switch (unit) {
    case 'ms':
      return value >= 1000 ? `${number(value / 1000, 3)} s` : `${number(value, 3)} ms`;
    case 'usd':
      return usd(value);
    case 'percent':
      return `${number(value, 3)} %`;
    case 'share':
      return value.toFixed(2);
    case 'score':
      return value.toFixed(0);
  }
}

export function usd(value: number): string {
  if (value === 0) return '$0';
  return `$${value >= 1 ? value.toFixed(2) : Number(value.toPrecision(3)).toString()}`;
}

// seconds writes a time that passed, such as 4.2 s, 1 min 20 s, 1 h 5 min.
export function seconds(value: number): string {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 60) return `${Math.round(value)} s`;
  const total = Math.round(value);
  if (total < 3600) return total % 60 ? `${Math.floor(total / 60)} min ${total % 60} s` : `${total / 60} min`;
  const minutes = Math.round(total / 60);
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

const clockTime = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

export function time(at: string | number): string {
  return clockTime.format(new Date(at));
}

// effect says what an override does; scope says to whom.
export function effect(o: Override): string {
  const p = o.params;
  switch (o.action) {
    case 'switch-model':
      return `Model ${String(p['model'])}${p['percent'] ? ` for ${String(p['percent'])} %` : ''}`;
    case 'enable-cache':
      return 'Answer repeats from the cache';
    case 'route':
      return `Route by ${String(p['strategy'])}`;
    case 'limit':
      return 'Limits';
    case 'failover':
      return `Avoid provider ${String(p['provider'])}`;
    case 'freeze':
      return 'Refuse automatic actions';
  }
  return o.action;
}

export function scope(o: Override): string {
  return [o.scope.function, o.scope.endpoint, o.scope.caller].filter(Boolean).join(' ') || 'everything';
}
