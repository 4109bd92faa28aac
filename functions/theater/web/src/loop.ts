// The loop: seven stations, from healthy traffic to the revert, filled in as a performance reaches them.

import { attribute, byID, h, text } from './dom';
import { seconds, time } from './format';
import type { Performance, Phase, Scenario } from './types';

interface Station {
  key: string;
  phase: string;
  name: string;
  waiting: string;
}

const stations: Station[] = [
  { key: 'traffic', phase: 'traffic', name: 'Healthy traffic', waiting: 'The monitors learn what is usual' },
  { key: 'fault', phase: 'fault', name: 'Fault', waiting: 'Something breaks' },
  { key: 'alert', phase: 'alert', name: 'Monitor', waiting: 'Datadog notices' },
  { key: 'workflow', phase: 'workflow', name: 'Workflow', waiting: 'It calls the remedy over HTTPS' },
  { key: 'override', phase: 'override', name: 'Override', waiting: 'A bounded, audited change' },
  { key: 'recovered', phase: 'recovered', name: 'Recovery', waiting: 'The monitor is content again' },
  { key: 'reverted', phase: 'reverted', name: 'Revert', waiting: 'All is as it was' },
];

const icons: Record<string, string> = {
  traffic: 'M3 12h4l3-7 4 14 3-7h4',
  fault: 'M13 2 4 14h6l-1 8 9-12h-6z',
  alert: 'M6 16V11a6 6 0 1 1 12 0v5l2 2H4zM10 21h4',
  workflow: 'M5 4h5v5H5zM14 15h5v5h-5zM7.5 9v5.5a3 3 0 0 0 3 3H14',
  override: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5',
  recovered: 'M4 13l5 5L20 7',
  reverted: 'M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3',
};

export function icon(name: string): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', icons[name] ?? '');
  svg.append(path);
  return svg;
}

interface Elements {
  item: HTMLElement;
  name: HTMLElement;
  when: HTMLElement;
  what: HTMLElement;
  state: HTMLElement;
}

export class Loop {
  private readonly elements = new Map<string, Elements>();

  constructor() {
    const list = byID('loop');
    for (const station of stations) {
      const name = h('span', { class: 'name' }, station.name);
      const when = h('span', { class: 'when' });
      const what = h('span', { class: 'what' }, station.waiting);
      const state = h('span', { class: 'unseen' });
      const dot = h('span', { class: 'dot' });
      dot.append(icon(station.key));
      const item = h('li', { 'data-state': 'idle' }, dot, h('span', { class: 'words' }, h('span', { class: 'top' }, name, when), what, state));
      list.append(item);
      this.elements.set(station.key, { item, name, when, what, state });
    }
  }

  show(performance: Performance | undefined, scenario: Scenario | undefined, note: string): void {
    text(byID('loop-note'), note);
    const reached = new Map<string, Phase>();
    for (const phase of performance?.phases ?? []) reached.set(phase.name, phase);
    const clicked = reached.get('clicked');
    const last = Math.max(-1, ...stations.map((s, i) => (reached.has(s.phase) ? i : -1)));
    const people = scenario !== undefined && /page/.test(scenario.remedy);
    stations.forEach((station, i) => {
      const e = this.elements.get(station.key);
      if (!e) return;
      const phase = reached.get(station.phase);
      let state = 'idle';
      let what = station.waiting;
      let when = '';
      if (phase) {
        state = 'done';
        what = phase.text ?? '';
        if (clicked) when = `+${seconds((Date.parse(phase.wall) - Date.parse(clicked.wall)) / 1000)}`;
      } else if (performance && clicked && i < last) {
        state = 'skipped';
        what = 'Not needed: the monitor calls people';
      } else if (performance?.state === 'playing' && i === last + 1) {
        state = 'now';
      } else if (performance?.state === 'failed' && i === last + 1) {
        state = 'failed';
        what = performance.failure ?? 'It was not reached';
      }
      // Traffic and fault go on until what comes next is there.
      if (state === 'done' && performance?.state === 'playing' && i === last && (station.key === 'traffic' || station.key === 'fault')) state = station.key === 'traffic' ? 'now' : 'done';
      if (station.key === 'fault' && reached.has('cleared')) what = `${what}; over at ${time(reached.get('cleared')?.at ?? '')}`;
      // What happens by itself was not put there: there is no fault to tell of, and nobody clicked.
      e.item.hidden = performance !== undefined && clicked === undefined && i < 2;
      text(e.name, people && station.key === 'override' ? 'Incident and page' : people && station.key === 'reverted' ? 'Page resolved' : station.name);
      text(e.when, when);
      what = what.charAt(0).toUpperCase() + what.slice(1);
      text(e.what, what);
      attribute(e.what, 'title', what);
      attribute(e.item, 'data-state', state);
      text(e.state, { idle: 'not yet', now: 'under way', done: 'done', skipped: 'skipped', failed: 'failed' }[state] ?? '');
      if (state === 'now') e.item.setAttribute('aria-current', 'step');
      else e.item.removeAttribute('aria-current');
    });
  }
}
