// The panels beside the loop and the charts: health, monitors, overrides, what happened, the question, and the history.

import { Problem, type API } from './api';
import { attribute, byID, h, keyed, text } from './dom';
import { effect, number, scope, seconds, time, usd } from './format';
import { reportAction, reportError } from './rum';
import type { Answer, Config, Entry, Override, Performance, Scenario, State } from './types';

const parts: [string, string][] = [
  ['performance', 'Performance'],
  ['reliability', 'Reliability'],
  ['cost', 'Cost'],
  ['quality', 'Quality'],
  ['security', 'Security'],
];

export function grade(score: number): string {
  return score >= 80 ? 'good' : score >= 70 ? 'warn' : 'bad';
}

export class HealthView {
  private readonly score = h('span', { class: 'score' }, '–');
  private readonly word = h('span', { class: 'word' }, 'no data yet');
  private readonly cost = h('p', { class: 'note' });
  private readonly rows = new Map<string, { root: HTMLElement; bar: HTMLElement; value: HTMLElement; why: HTMLElement }>();

  constructor() {
    const list = h('ul', { class: 'parts' });
    for (const [key, name] of parts) {
      const bar = h('span', { class: 'fill' });
      const value = h('span', { class: 'value' }, '–');
      const why = h('span', { class: 'why' });
      const root = h('li', { 'data-grade': 'none' }, h('span', { class: 'name' }, name), h('span', { class: 'bar', 'aria-hidden': 'true' }, bar), value, why);
      list.append(root);
      this.rows.set(key, { root, bar, value, why });
    }
    byID('health').append(
      h('h2', { id: 'health-title' }, 'Health'),
      h('p', { class: 'big' }, this.score, h('span', { class: 'of' }, 'of 100'), this.word),
      list,
      this.cost,
    );
  }

  show(state: State): void {
    const health = state.health;
    const score = health?.health_score;
    text(this.score, score === undefined ? '–' : score.toFixed(0));
    const level = score === undefined ? 'none' : grade(score);
    attribute(byID('health'), 'data-grade', level);
    text(this.word, { none: 'no data yet', good: 'healthy', warn: 'degraded', bad: 'unhealthy' }[level] ?? '');
    for (const [key] of parts) {
      const row = this.rows.get(key);
      if (!row) continue;
      const part = health?.parts[key];
      const left = health?.left_out.find((l) => l.part === key);
      attribute(row.root, 'data-grade', part ? grade(part.score) : 'none');
      row.bar.style.inlineSize = `${part ? Math.max(2, part.score) : 0}%`;
      text(row.value, part ? part.score.toFixed(0) : '–');
      text(row.why, part ? inputs(part.inputs) : (left?.reason ?? ''));
    }
    const window = health?.window ?? '';
    text(this.cost, [state.cost ? `${usd(state.cost.usd)} spent in ${state.cost.window}` : '', window ? `score over ${window}` : ''].filter(Boolean).join(' · '));
  }
}

function inputs(values: Record<string, number>): string {
  const out: string[] = [];
  const add = (key: string, f: (v: number) => string) => {
    const v = values[key];
    if (v !== undefined) out.push(f(v));
  };
  const percent = (v: number) => `${number(v * 100, 2)} %`;
  add('p95_ms', (v) => `p95 ${number(v)} ms`);
  add('error_rate', (v) => `${percent(v)} errors`);
  add('ratio', (v) => `${number(v, 2)} × the usual cost`);
  add('groundedness', (v) => `groundedness ${v.toFixed(2)}`);
  add('injection_rate', (v) => `${percent(v)} injections`);
  add('block_rate', (v) => `${percent(v)} withheld`);
  return out.join(', ');
}

export class MonitorView {
  private readonly list = h('ul', { class: 'plain' });

  constructor() {
    byID('monitors').append(h('h2', { id: 'monitors-title' }, 'Monitors'), this.list);
  }

  show(state: State): void {
    const monitors = state.monitors ?? [];
    byID('monitors').hidden = monitors.length === 0;
    keyed(
      this.list,
      monitors,
      (m) => m.name,
      (m) => h('li', {}, h('span', { class: 'lamp', 'aria-hidden': 'true' }), h('span', { class: 'name' }, m.name), h('span', { class: 'status' })),
      (element, m) => {
        attribute(element, 'data-status', m.status);
        const status = element.querySelector('.status');
        if (status) text(status, m.status);
      },
    );
  }
}

export class OverrideView {
  private readonly list = h('ul', { class: 'cards' });
  private readonly empty = h('p', { class: 'empty' }, 'Nothing is in force: requests are served as configured.');
  private readonly error = h('p', { class: 'error', role: 'alert' });
  private shown: Override[] = [];

  constructor(
    private readonly api: API,
    private readonly config: Config,
    private readonly announce: (message: string) => void,
  ) {
    byID('overrides').append(h('h2', { id: 'overrides-title' }, 'Overrides in force'), this.list, this.empty, this.error);
  }

  show(state: State): void {
    this.shown = state.in_force ?? [];
    this.empty.hidden = this.shown.length > 0;
    keyed(this.list, this.shown, (o) => o.id, (o) => this.card(o));
    this.tick();
  }

  // tick counts down; it is called each second.
  tick(): void {
    for (const o of this.shown) {
      const element = this.list.querySelector<HTMLElement>(`[data-key="${CSS.escape(o.id)}"]`);
      if (!element) continue;
      const left = Math.max(0, (Date.parse(o.end) - Date.now()) / 1000);
      const whole = Math.max(1, (Date.parse(o.end) - Date.parse(o.start)) / 1000);
      const count = element.querySelector('.left');
      if (count) text(count, left > 0 ? `${seconds(Math.ceil(left))} left` : 'over');
      const bar = element.querySelector<HTMLElement>('.fill');
      if (bar) bar.style.inlineSize = `${(100 * left) / whole}%`;
    }
  }

  private card(o: Override): HTMLElement {
    const button = h('button', { type: 'button', class: 'small' }, 'Revert now');
    button.setAttribute('aria-label', `Revert now: ${effect(o)}, for ${scope(o)}`);
    button.addEventListener('click', () => void this.revert(o, button));
    return h(
      'li',
      {},
      h('div', { class: 'row' }, h('strong', {}, effect(o)), this.config.revert && button),
      h('p', { class: 'note' }, `for ${scope(o)} · by ${o.source.monitor ?? o.source.operator ?? o.source.kind}`),
      o.source.reason ? h('p', { class: 'why' }, o.source.reason) : null,
      h('div', { class: 'row' }, h('span', { class: 'bar', 'aria-hidden': 'true' }, h('span', { class: 'fill' })), h('span', { class: 'left' })),
    );
  }

  private async revert(o: Override, button: HTMLButtonElement): Promise<void> {
    reportAction('revert override', { action: o.action });
    button.disabled = true;
    text(this.error, '');
    try {
      await this.api.revert(o.id);
      this.announce(`Reverted: ${effect(o)}`);
      byID('overrides-title').tabIndex = -1;
      byID('overrides-title').focus();
    } catch (error) {
      reportError(error, { during: 'revert' });
      text(this.error, `Not reverted: ${message(error)}`);
      button.disabled = false;
    }
  }
}

const kinds: Record<string, string> = {
  scenario: 'Scenario', fault: 'Fault', cleared: 'Fault over', alert: 'Alert', warn: 'Monitor', recovery: 'Recovery', workflow: 'Workflow', step: 'Step',
  override: 'Override', revert: 'Revert', expired: 'Ran out', incident: 'Incident', page: 'Page', resolved: 'Resolved', notification: 'Message', failure: 'Failure',
};

// most bounds the timeline: a browser slows down with thousands of rows.
const most = 300;

export class TimelineView {
  private readonly list = h('ol', { class: 'events' });
  private readonly empty = h('p', { class: 'empty' }, 'Nothing has happened yet.');
  private readonly seen = new Set<string>();

  constructor(config: Config) {
    const steps = h('input', { type: 'checkbox', id: 'steps', checked: true });
    steps.addEventListener('change', () => this.list.classList.toggle('nosteps', !steps.checked));
    byID('timeline').append(
      h('div', { class: 'head' }, h('h2', { id: 'timeline-title' }, 'What happens, and why'), config.scenarios.length > 0 && h('label', { class: 'check' }, steps, 'Workflow steps')),
      h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Entries, newest first' }, this.list, this.empty),
    );
  }

  add(e: Entry): void {
    if (this.seen.has(e.id)) return;
    this.seen.add(e.id);
    this.empty.hidden = true;
    const failed = e.status === 'failure' || e.kind === 'failure';
    this.list.prepend(
      h(
        'li',
        { class: `event ${e.kind}${failed ? ' failed' : ''}` },
        h('time', { datetime: e.at }, time(e.at)),
        h('span', { class: 'kind' }, kinds[e.kind] ?? e.kind),
        h('span', { class: 'title' }, e.title),
        e.why ? h('span', { class: 'why' }, e.why) : null,
      ),
    );
    while (this.list.children.length > most) this.list.lastElementChild?.remove();
  }
}

const sample =
  'The mill stands by the river. It was built in 1732 by the abbey, which needed flour for three hundred monks. ' +
  'A flood took the wheel in 1897, and an engine has driven the stones since. Today it belongs to 41 farmers, who grind rye.';

export class AskView {
  private readonly question = h('input', { id: 'question', name: 'question', required: true, maxlength: '1000', value: 'Who built the mill, and when?', autocomplete: 'off' });
  private readonly document = h('textarea', { id: 'document', name: 'document', rows: '5', maxlength: '100000' });
  private readonly button = h('button', { type: 'submit', class: 'primary' }, 'Ask');
  private readonly result = h('div', { class: 'answer', 'aria-live': 'polite' });

  constructor(
    private readonly api: API,
    config: Config,
  ) {
    const root = byID('ask');
    root.hidden = !config.ask;
    this.document.value = sample;
    const form = h(
      'form',
      {},
      h('label', { for: 'document' }, 'Your document'),
      this.document,
      h('label', { for: 'question' }, 'Question'),
      h('div', { class: 'line' }, this.question, this.button),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.ask();
    });
    root.append(h('h2', { id: 'ask-title' }, 'Ask it something'), h('p', { class: 'note' }, 'The answer comes by the same path as every request, under the overrides in force.'), h('div', { class: 'sides' }, form, this.result));
    this.result.append(h('p', { class: 'empty' }, 'The answer appears here, with its model, cost, quality and trace.'));
  }

  private async ask(): Promise<void> {
    reportAction('ask question');
    this.button.disabled = true;
    text(this.button, 'Asking');
    try {
      const answer = await this.api.ask(this.question.value, this.document.value);
      this.result.replaceChildren(...answered(answer));
    } catch (error) {
      if (!(error instanceof Problem)) reportError(error, { during: 'ask' });
      const id = error instanceof Problem && error.requestID ? ` (request ${error.requestID})` : '';
      this.result.replaceChildren(h('p', { class: 'error' }, `No answer: ${message(error)}${id}`));
    } finally {
      this.button.disabled = false;
      text(this.button, 'Ask');
    }
  }
}

function answered(a: Answer): HTMLElement[] {
  const m = a.metadata;
  const facts: [string, string][] = [
    ['Model', `${m.model} (${m.route})`],
    ['Cost', m.cost_usd === undefined ? 'unknown' : usd(m.cost_usd)],
    ['Latency', `${number(m.latency_ms)} ms${m.cached ? ', from the cache' : ''}`],
    ['Groundedness', m.quality?.groundedness === undefined ? 'no document' : m.quality.groundedness.toFixed(2) + (m.quality.ungrounded ? ', not supported' : '')],
    ['Similarity', m.quality?.semantic_similarity === undefined ? '–' : m.quality.semantic_similarity.toFixed(2)],
    ['Tokens', m.input_tokens === undefined ? 'unknown' : `${m.input_tokens} in, ${m.output_tokens ?? 0} out`],
    ['Injection', m.safety.prompt_injection.toFixed(2)],
    ['Trace', m.trace_id ?? '–'],
    ['Overrides', m.overrides.length ? m.overrides.join(', ') : 'none'],
  ];
  return [h('blockquote', {}, a.answer), h('dl', { class: 'facts' }, ...facts.map(([k, v]) => h('div', {}, h('dt', {}, k), h('dd', {}, v))))];
}

export class HistoryView {
  private readonly body = h('tbody');
  private readonly table = h(
    'table',
    {},
    h('thead', {}, h('tr', {}, ...['Scenario', 'Result', 'Alert', 'Remedy', 'Recovered', 'Reverted'].map((name) => h('th', { scope: 'col' }, name)))),
    this.body,
  );
  private readonly empty = h('p', { class: 'empty' }, 'No scenario was played yet.');
  private readonly past = h('ul', { class: 'plain past' });
  private readonly none = h('p', { class: 'empty' }, 'No override has ended yet.');
  private shown = '';

  constructor(private readonly config: Config) {
    const played = h(
      'div',
      { class: 'half' },
      h('h3', {}, 'Scenarios'),
      h('p', { class: 'note' }, 'Seconds since the click; in brackets, the time that passed on the monitors\u2019 clock.'),
      h('div', { class: 'scroll wide', tabindex: '0', role: 'region', 'aria-label': 'Scenarios that were played' }, this.table),
      this.empty,
    );
    played.hidden = config.scenarios.length === 0;
    byID('history').append(
      h('h2', { id: 'history-title' }, 'History'),
      h('div', { class: 'halves' }, played, h('div', { class: 'half' }, h('h3', {}, 'Overrides that ended'), this.past, this.none)),
    );
  }

  show(state: State): void {
    const performances = state.performances ?? [];
    const history = (state.history ?? []).slice(0, 12);
    const shape = JSON.stringify([performances, history]);
    if (shape === this.shown) return;
    this.shown = shape;
    this.empty.hidden = performances.length > 0;
    this.table.hidden = performances.length === 0;
    this.body.replaceChildren(...performances.map((p) => this.row(p)));
    this.none.hidden = history.length > 0;
    this.past.replaceChildren(
      ...history.map((o) =>
        h(
          'li',
          {},
          h('span', { class: 'name' }, `${effect(o)}, for ${scope(o)}`),
          h('span', { class: 'note' }, `${o.source.monitor ?? o.source.operator ?? ''} · held ${seconds((Date.parse(o.ended?.at ?? o.end) - Date.parse(o.start)) / 1000)} · ${o.ended ? `${o.ended.cause} by ${o.ended.source.operator ?? o.ended.source.monitor ?? o.ended.source.kind}` : 'ran out'}`),
        ),
      ),
    );
  }

  private row(p: Performance): HTMLElement {
    const clicked = p.phases.find((x) => x.name === 'clicked');
    const cell = (name: string) => {
      const phase = p.phases.find((x) => x.name === name);
      if (!phase || !clicked) return h('td', {}, '–');
      const wall = (Date.parse(phase.wall) - Date.parse(clicked.wall)) / 1000;
      const stand = (Date.parse(phase.at) - Date.parse(clicked.at)) / 1000;
      return h('td', {}, `${seconds(wall)} `, h('span', { class: 'note' }, `(${seconds(stand)})`));
    };
    const title = this.config.scenarios.find((s) => s.name === p.scenario)?.title ?? p.scenario;
    const result = { queued: 'waits', playing: 'plays', done: 'closed and reverted', failed: 'failed' }[p.state];
    return h('tr', { 'data-state': p.state }, h('th', { scope: 'row' }, title), h('td', { ...(p.failure ? { title: p.failure } : {}) }, result), cell('alert'), cell('override'), cell('recovered'), cell('reverted'));
  }
}

export class StageView {
  private readonly buttons = new Map<string, { root: HTMLButtonElement; state: HTMLElement }>();
  private readonly error = h('p', { class: 'error', role: 'alert' });

  constructor(
    private readonly api: API,
    config: Config,
    private readonly announce: (message: string) => void,
  ) {
    const row = byID('scenarios');
    for (const scenario of config.scenarios) {
      const state = h('span', { class: 'state' });
      const root = h(
        'button',
        { type: 'button', class: 'scenario', 'data-name': scenario.name },
        h('span', { class: 'title' }, scenario.title),
        h('span', { class: 'fault' }, capital(scenario.fault)),
        h('span', { class: 'remedy' }, `Remedy: ${scenario.remedy}`),
        state,
      );
      root.addEventListener('click', () => void this.play(scenario));
      row.append(root);
      this.buttons.set(scenario.name, { root, state });
    }
    if (config.scenarios.length === 0) {
      text(byID('stage-title'), 'The loop');
      text(byID('stage-note'), 'This deployment plays no failures. They are played on one machine, with make run; here the real ones are shown.');
      byID('loop-title').hidden = true;
    }
    row.after(this.error);
  }

  show(state: State): void {
    const performances = state.performances ?? [];
    for (const [name, button] of this.buttons) {
      const open = performances.find((p) => p.scenario === name && (p.state === 'playing' || p.state === 'queued'));
      const last = performances.find((p) => p.scenario === name);
      attribute(button.root, 'data-state', open?.state ?? last?.state ?? 'idle');
      attribute(button.root, 'aria-disabled', open ? 'true' : 'false');
      text(button.state, open ? (open.state === 'playing' ? 'Playing' : 'Waiting for its turn') : last ? (last.state === 'done' ? 'Closed and reverted' : 'Failed') : 'Play');
    }
  }

  private async play(scenario: Scenario): Promise<void> {
    if (this.buttons.get(scenario.name)?.root.getAttribute('aria-disabled') === 'true') return;
    reportAction('play scenario', { scenario: scenario.name });
    text(this.error, '');
    try {
      const performance = await this.api.play(scenario.name);
      this.announce(`${scenario.title}: ${performance.state === 'queued' ? 'it begins when it is its turn' : 'it begins'}`);
    } catch (error) {
      reportError(error, { during: 'play' });
      text(this.error, `${scenario.title} did not begin: ${message(error)}`);
    }
  }
}

function capital(s: string): string {
  return s.charAt(0).toUpperCase() + s.slice(1);
}

function message(error: unknown): string {
  if (error instanceof Problem) return error.message;
  return 'the function can\u2019t be reached';
}
