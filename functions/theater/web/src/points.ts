// Where the source has no charts, as in production, where Datadog has them: what the health score was made of, since the page was
// opened. These are windows of the function insights, not single requests.

import type { Chart, State, Unit } from './types';

const lines: { key: string; title: string; unit: Unit; part: string; input: string; scale: number }[] = [
  { key: 'latency', title: 'Latency, p95 of the window', unit: 'ms', part: 'performance', input: 'p95_ms', scale: 1 },
  { key: 'cost', title: 'Cost of a request', unit: 'usd', part: 'cost', input: 'usd_per_request', scale: 1 },
  { key: 'quality', title: 'Groundedness', unit: 'share', part: 'quality', input: 'groundedness', scale: 1 },
  { key: 'errors', title: 'Errors', unit: 'percent', part: 'reliability', input: 'error_rate', scale: 100 },
];

const at: number[] = [];
const values = new Map<string, (number | null)[]>();
const most = 720;

export function points(state: State, now: number): Chart[] {
  const parts = state.health?.parts ?? {};
  at.push(now / 1000);
  if (at.length > most) at.shift();
  return lines.map((line) => {
    const row = values.get(line.key) ?? [];
    const input = parts[line.part]?.inputs[line.input];
    row.push(input === undefined ? null : input * line.scale);
    if (row.length > most) row.shift();
    values.set(line.key, row);
    return { key: line.key, title: line.title, unit: line.unit, at: [...at], series: [{ name: 'since this page was opened', values: [...row] }], thresholds: [] };
  });
}
