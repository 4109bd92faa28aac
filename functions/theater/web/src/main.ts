import { API, config as readConfig, keepSecret, takeSecret } from './api';
import { Charts } from './charts';
import { attribute, byID, h, text } from './dom';
import { effect, scope, seconds, time } from './format';
import { Loop } from './loop';
import { points } from './points';
import { reportError, startRUM } from './rum';
import { Stream, type Link } from './stream';
import { startTheme } from './theme';
import type { Config, Entry, Performance, State } from './types';
import { AskView, HealthView, HistoryView, MonitorView, OverrideView, StageView, TimelineView } from './views';

// The secret leaves the address before anything else looks at it.
const given = takeSecret();

// spoken are the kinds of entries that are announced to who can't see the page; the rest would drown them.
const spoken = new Set(['fault', 'alert', 'override', 'recovery', 'revert', 'failure']);

function announce(message: string): void {
  text(byID('announce'), message);
}

async function begin(): Promise<void> {
  let config: Config | undefined;
  for (let wait = 500; !config; wait = Math.min(8000, wait * 2)) {
    try {
      config = await readConfig(AbortSignal.timeout(10_000));
    } catch {
      connection({ kind: 'waiting', until: Date.now() + wait });
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  // The page is more important than what it reports.
  startRUM(config).catch(() => undefined);
  for (const link of config.links) byID('links').append(h('a', { href: link.url, rel: 'noreferrer', target: '_blank' }, link.title));
  if (given) open(config, given);
  else lock(config, '');
}

function lock(config: Config, why: string): void {
  byID('show').hidden = true;
  byID('loading').hidden = true;
  byID('lock').hidden = false;
  attribute(byID('connection'), 'data-state', 'locked');
  text(byID('connection'), 'Locked');
  text(byID('lock-error'), why);
  const input = byID<HTMLInputElement>('secret');
  input.value = '';
  input.focus();
  byID<HTMLFormElement>('lock-form').onsubmit = (event) => {
    event.preventDefault();
    keepSecret(input.value.trim());
    open(config, input.value.trim());
  };
}

// built shows a state; a page that was locked again has its panels already.
let built: ((state: State) => void) | undefined;

const api = new API();

function open(config: Config, secret: string): void {
  api.secret = secret;
  const show = (built ??= assemble(config));
  let link: Link = { kind: 'connecting' };
  const stream = new Stream(() => api.headers(), {
    state: (state) => {
      if (byID('show').hidden) {
        byID('lock').hidden = true;
        byID('loading').hidden = true;
        byID('show').hidden = false;
      }
      show(state);
    },
    entry: (entry) => views?.timeline.add(entry),
    trouble: (detail) => banner('trouble', detail),
    link: (next) => {
      link = next;
      connection(link);
    },
    refused: () => {
      keepSecret('');
      lock(config, 'That secret is not accepted.');
    },
  });
  byID('connection').onclick = () => stream.now();
  retry = () => stream.now();
  void stream.run();
  clearInterval(counting);
  counting = setInterval(() => {
    if (link.kind === 'waiting') connection(link);
  }, 1000);
}

let counting: ReturnType<typeof setInterval> | undefined;

let retry = (): void => undefined;

interface Views {
  timeline: TimelineView;
}

let views: Views | undefined;

function assemble(config: Config): (state: State) => void {
  let at = 0;
  let received = 0;
  let speed = 1;
  const timeline = new TimelineView(config);
  const stage = new StageView(api, config, announce);
  const health = new HealthView();
  const monitors = new MonitorView();
  const overrides = new OverrideView(api, config, announce);
  const history = new HistoryView(config);
  const loop = new Loop();
  const charts = new Charts(config.scenarios.length > 0);
  let shown: State | undefined;
  // Where the source has no charts, the page goes on with what it knows: a state that does not change is not sent again.
  setInterval(() => {
    if (shown && !shown.charts) charts.show({ ...shown, charts: points(shown, at + (Date.now() - received) * speed) });
  }, 15_000);
  new AskView(api, config);
  themed = () => charts.redraw();
  const add = timeline.add.bind(timeline);
  const started = Date.now();
  timeline.add = (entry: Entry) => {
    add(entry);
    // What happened before the page was opened is no news.
    if (spoken.has(entry.kind) && Date.now() - started > 3000) announce(`${entry.title}. ${entry.why ?? ''}`);
  };
  views = { timeline };
  setInterval(() => {
    overrides.tick();
    if (at) text(byID('clock'), `${time(at + (Date.now() - received) * speed)}${speed === 1 ? '' : ` · ${speed}× speed`}`);
  }, 250);
  const show = (state: State): void => {
    at = Date.parse(state.at);
    received = Date.now();
    speed = state.speed;
    shown = state;
    const full = state.charts ? state : { ...state, charts: points(state, at) };
    banner('unavailable', (state.unavailable ?? []).length ? `Not readable now: ${(state.unavailable ?? []).join(', ')}.` : '');
    stage.show(state);
    const performance = chosen(state);
    const scenario = config.scenarios.find((s) => s.name === performance?.scenario);
    loop.show(performance, scenario, note(performance, scenario?.title ?? '', config.scenarios.length > 0));
    health.show(state);
    monitors.show(state);
    overrides.show(state);
    history.show(state);
    charts.show(full);
  };
  return show;
}

// chosen is the performance in the loop: what plays, or what was played last; in production, the last that a monitor asked for.
function chosen(state: State): Performance | undefined {
  const performances = state.performances ?? [];
  return performances.find((p) => p.state === 'playing') ?? performances.find((p) => p.state === 'done' || p.state === 'failed') ?? real(state);
}

function real(state: State): Performance | undefined {
  if (state.monitors) return undefined;
  const o = [...(state.in_force ?? []), ...(state.history ?? [])].find((x) => x.source.kind === 'monitor');
  if (!o) return undefined;
  const phase = (name: string, at: string, what: string) => ({ name, at, wall: at, text: what });
  const phases = [
    phase('alert', o.start, `${o.source.monitor ?? ''}: ${o.source.reason ?? ''}`),
    phase('workflow', o.start, o.source.workflow_run ? `Run ${o.source.workflow_run}` : 'It called the remedy'),
    phase('override', o.start, `${effect(o)}, for ${scope(o)}, since ${time(o.start)}`),
  ];
  if (o.ended) phases.push(phase('recovered', o.ended.at, o.ended.source.reason ?? o.ended.cause), phase('reverted', o.ended.at, `${o.ended.cause} at ${time(o.ended.at)}`));
  else if (Date.parse(o.end) < Date.now()) phases.push(phase('reverted', o.end, `its time was over at ${time(o.end)}`));
  return { id: o.id, scenario: '', state: Date.parse(o.end) < Date.now() || o.ended ? 'done' : 'playing', asked: o.start, phases };
}

function note(p: Performance | undefined, title: string, playable: boolean): string {
  if (!p) return playable ? 'Each scenario goes all the way round, by itself.' : 'No monitor has asked for a remedy in the last days.';
  if (!p.scenario) return `The last that a monitor asked for, at ${time(p.asked)}.`;
  const clicked = Date.parse(p.phases[0]?.wall ?? p.asked);
  const took = seconds((Date.parse(p.phases.at(-1)?.wall ?? p.asked) - clicked) / 1000);
  switch (p.state) {
    case 'playing':
      return `${title} plays.`;
    case 'done':
      return `${title}: closed and reverted, ${took} after the click.`;
    case 'failed':
      return `${title} did not close: ${p.failure ?? ''}`;
  }
  return '';
}

let themed = (): void => undefined;

function connection(link: Link): void {
  const pill = byID('connection');
  attribute(pill, 'data-state', link.kind);
  switch (link.kind) {
    case 'connecting':
      if (pill.textContent !== 'Live') text(pill, 'Connecting');
      break;
    case 'live':
      text(pill, 'Live');
      banner('link', '');
      break;
    case 'waiting': {
      text(pill, 'Disconnected');
      const wait = Math.max(0, Math.ceil((link.until - Date.now()) / 1000));
      banner('link', `Disconnected. What you see is as it was. Trying again${wait > 0 ? ` in ${wait} s` : ''}.`);
    }
  }
}

// banner shows the most urgent trouble.
const troubles = new Map<string, string>();

function banner(kind: string, message: string): void {
  if (message) troubles.set(kind, message);
  else troubles.delete(kind);
  const worst = troubles.get('link') ?? troubles.get('trouble') ?? troubles.get('unavailable') ?? '';
  const element = byID('trouble');
  const line = element.querySelector('span');
  if (!worst) {
    element.hidden = true;
    element.replaceChildren();
    return;
  }
  element.hidden = false;
  if (line) {
    text(line, worst);
    element.querySelector('button')?.toggleAttribute('hidden', !troubles.has('link'));
    return;
  }
  const button = h('button', { type: 'button', class: 'small' }, 'Try now');
  button.hidden = !troubles.has('link');
  button.addEventListener('click', () => retry());
  element.replaceChildren(h('span', {}, worst), button);
}

startTheme(byID<HTMLButtonElement>('theme'), () => themed());
begin().catch((error: unknown) => {
  reportError(error);
  banner('trouble', 'The page could not begin. Reload it.');
});
