// Live charts with the thresholds of monitors drawn in, and the time of the fault shaded.

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { attribute, byID, h, text } from './dom';
import { measure, time } from './format';
import type { Chart, Performance, State, Unit } from './types';

interface Span {
  from: number;
  to: number;
}

interface Card {
  root: HTMLElement;
  figure: HTMLElement;
  value: HTMLElement;
  status: HTMLElement;
  legend: HTMLElement;
  empty: HTMLElement;
  plot: uPlot | undefined;
  shape: string;
  chart: Chart;
}

const height = 168;

export class Charts {
  private readonly cards = new Map<string, Card>();
  private faults: Span[] = [];
  private readonly resize = new ResizeObserver(() => this.fit());

  constructor(private readonly playable: boolean) {
    this.resize.observe(byID('charts'));
  }

  show(state: State): void {
    const charts = state.charts ?? [];
    this.faults = spans(state.performances ?? [], Date.parse(state.at) / 1000);
    byID('charts').hidden = charts.length === 0;
    for (const chart of charts) this.draw(chart, state);
  }

  // redraw takes the colours of another scheme.
  redraw(): void {
    for (const card of this.cards.values()) {
      card.plot?.destroy();
      card.plot = undefined;
      card.shape = '';
      this.plot(card);
    }
  }

  private draw(chart: Chart, state: State): void {
    let card = this.cards.get(chart.key);
    if (!card) {
      card = make(chart, this.playable);
      byID('charts').append(card.root);
      this.cards.set(chart.key, card);
    }
    card.chart = chart;
    const monitor = state.monitors?.find((m) => m.name === chart.monitor);
    attribute(card.root, 'data-status', monitor?.status ?? 'OK');
    text(card.status, monitor ? `${monitor.name}: ${monitor.status}` : '');
    const lines = chart.series.filter((s) => !s.bound);
    const now = latest(lines.map((s) => s.values));
    text(card.value, now === undefined ? '–' : measure(now, chart.unit));
    const threshold = chart.thresholds[0]?.label ?? '';
    attribute(card.figure, 'aria-label', `${chart.title}. ${lines.map((s) => `${s.name} ${say(s.values, chart.unit)}`).join(', ')}. ${threshold}`);
    this.plot(card);
  }

  private plot(card: Card): void {
    const { chart } = card;
    const has = chart.series.some((s) => s.values.some((v) => v !== null));
    card.empty.hidden = has;
    card.figure.classList.toggle('blank', !has);
    if (!has) return;
    const data = [chart.at, ...chart.series.map((s) => s.values)] as uPlot.AlignedData;
    const shape = chart.series.map((s) => s.name).join() + chart.thresholds.map((t) => t.label).join() + (chart.at.length < 3);
    if (card.plot && card.shape === shape) {
      card.plot.setData(data);
      return;
    }
    card.plot?.destroy();
    card.shape = shape;
    const colours = palette();
    const tones = chart.series.length === 1 ? [colours.accent] : [colours.calm, colours.accent, colours.third];
    card.legend.replaceChildren(
      ...chart.series.map((s, i) => h('li', {}, h('span', { class: s.bound ? 'swatch bound' : `swatch tone${tone(chart, i)}` }), s.name)),
      ...chart.thresholds.map((t) => h('li', {}, h('span', { class: `swatch line ${t.kind}` }), t.label)),
    );
    card.plot = new uPlot(
      {
        width: Math.max(200, card.figure.clientWidth),
        height,
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { size: 6 }, y: false },
        // On the right there is room for half of a label of the time, which may stand at the very end.
        padding: [10, 26, 0, 0],
        scales: {
          x: { time: true },
          y: { range: (_u, least, most) => range(chart, least, most) },
        },
        axes: [
          { stroke: colours.muted, font: font(), grid: { show: false }, ticks: { show: false }, size: 24, space: 64, values: (_u, ticks) => ticks.map((t) => time(t * 1000).slice(0, (ticks[1] ?? 0) - (ticks[0] ?? 0) < 60 ? 8 : 5)) },
          { stroke: colours.muted, font: font(), grid: { stroke: colours.line, width: 1 }, ticks: { show: false }, size: 52, space: 34, values: (_u, ticks) => ticks.map((t) => measure(t, chart.unit)) },
        ],
        series: [
          {},
          ...chart.series.map((s, i): uPlot.Series => ({
            label: s.name,
            stroke: s.bound ? colours.muted : (tones[tone(chart, i)] ?? colours.accent),
            width: s.bound ? 1 : 2,
            ...(s.bound ? { dash: [2, 4] } : {}),
            points: { show: chart.at.length < 3, size: 6 },
            spanGaps: true,
          })),
        ],
        hooks: {
          drawClear: [(u) => this.shade(u, colours.fault)],
          draw: [(u) => thresholds(u, chart, colours)],
        },
      },
      data,
      card.figure,
    );
  }

  private shade(u: uPlot, colour: string): void {
    const { ctx, bbox } = u;
    const min = u.scales['x']?.min ?? 0;
    const max = u.scales['x']?.max ?? 0;
    ctx.save();
    ctx.fillStyle = colour;
    for (const f of this.faults) {
      const from = Math.max(f.from, min);
      const to = Math.min(f.to, max);
      if (to <= from) continue;
      const left = u.valToPos(from, 'x', true);
      ctx.fillRect(left, bbox.top, u.valToPos(to, 'x', true) - left, bbox.height);
    }
    ctx.restore();
  }

  private fit(): void {
    for (const card of this.cards.values()) {
      const width = card.figure.clientWidth;
      if (card.plot && width > 0 && card.plot.width !== width) card.plot.setSize({ width, height });
    }
  }
}

function tone(chart: Chart, i: number): number {
  return chart.series.length === 1 ? 1 : i;
}

function make(chart: Chart, playable: boolean): Card {
  const value = h('span', { class: 'value' });
  const status = h('span', { class: 'status' });
  const legend = h('ul', { class: 'legend' });
  const empty = h('p', { class: 'empty' }, playable ? 'No data in the last hour. Play a scenario, or ask a question.' : 'No data yet.');
  const figure = h('div', { class: 'plot', role: 'img' });
  const root = h('article', { class: 'panel chart' }, h('div', { class: 'head' }, h('h3', {}, chart.title), value), status, h('div', { class: 'holder' }, figure, empty), legend);
  return { root, figure, value, status, legend, empty, plot: undefined, shape: '', chart };
}

function spans(performances: Performance[], now: number): Span[] {
  const out: Span[] = [];
  for (const p of performances) {
    const at = (name: string) => p.phases.find((phase) => phase.name === name)?.at;
    const from = at('fault');
    if (!from) continue;
    const to = at('cleared');
    if (!to && p.state !== 'playing') continue;
    out.push({ from: Date.parse(from) / 1000, to: to ? Date.parse(to) / 1000 : now });
  }
  return out;
}

function latest(series: (number | null)[][]): number | undefined {
  const values = series.map((s) => s.findLast((v) => v !== null)).filter((v): v is number => typeof v === 'number');
  return values.length ? values[Math.min(1, values.length - 1)] : undefined;
}

function say(values: (number | null)[], unit: Unit): string {
  const v = values.findLast((x) => x !== null);
  return typeof v === 'number' ? measure(v, unit) : 'without data';
}

function range(chart: Chart, least: number | null, most: number | null): [number, number] {
  if (chart.unit === 'share') return [0, 1.05];
  if (chart.unit === 'score') return [0, 105];
  let top = Math.max(most ?? 0, ...chart.thresholds.map((t) => t.value));
  if (chart.key === 'cost') top = most ?? 0;
  return [Math.min(0, least ?? 0), top > 0 ? top * 1.15 : 1];
}

function thresholds(u: uPlot, chart: Chart, colours: Palette): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.lineWidth = devicePixelRatio * 1.5;
  for (const t of chart.thresholds) {
    const y = u.valToPos(t.value, 'y', true);
    if (y < bbox.top || y > bbox.top + bbox.height) continue;
    ctx.strokeStyle = { critical: colours.bad, warning: colours.warn, target: colours.bad }[t.kind] ?? colours.good;
    ctx.setLineDash([6 * devicePixelRatio, 5 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

type Palette = Record<'accent' | 'calm' | 'third' | 'muted' | 'line' | 'bad' | 'warn' | 'good' | 'fault', string>;

function palette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    accent: read('tone-1'), calm: read('tone-0'), third: read('tone-2'), muted: read('muted'), line: read('line'),
    bad: read('bad'), warn: read('warn'), good: read('good'), fault: read('fault'),
  };
}

function font(): string {
  return '11px system-ui, sans-serif';
}
