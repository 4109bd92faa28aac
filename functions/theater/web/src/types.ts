// What the function theater answers, as its Go types write it.

export interface Config {
  service: string;
  env: string;
  version: string;
  scenarios: Scenario[];
  ask: boolean;
  revert: boolean;
  links: { title: string; url: string }[];
  rum?: { application_id: string; client_token: string; site: string; intake?: string };
}

export interface Scenario {
  name: string;
  title: string;
  fault: string;
  remedy: string;
  monitor: string;
}

export interface State {
  at: string;
  speed: number;
  health?: Health;
  cost?: { usd: number; window: string };
  monitors?: Monitor[];
  charts?: Chart[];
  in_force: Override[] | null;
  history: Override[] | null;
  performances?: Performance[];
  unavailable?: string[];
}

export interface Health {
  health_score?: number;
  parts: Record<string, { score: number; weight: number; inputs: Record<string, number> }>;
  left_out: { part: string; weight: number; reason: string }[];
  window?: string;
}

export interface Monitor {
  name: string;
  status: string;
  value?: number;
  critical?: number;
}

export type Unit = 'ms' | 'usd' | 'share' | 'percent' | 'score';

export interface Chart {
  key: string;
  title: string;
  unit: Unit;
  monitor?: string;
  at: number[];
  series: { name: string; values: (number | null)[]; bound?: boolean }[];
  thresholds: { kind: string; value: number; label: string }[];
}

export interface Override {
  id: string;
  action: string;
  scope: { function?: string; endpoint?: string; caller?: string };
  params: Record<string, unknown>;
  start: string;
  end: string;
  source: Source;
  ended?: { at: string; cause: string; source: Source };
}

export interface Source {
  kind: string;
  monitor?: string;
  workflow_run?: string;
  operator?: string;
  reason?: string;
}

export interface Entry {
  id: string;
  at: string;
  kind: string;
  title: string;
  why?: string;
  monitor?: string;
  workflow?: string;
  status?: string;
}

export interface Performance {
  id: string;
  scenario: string;
  state: 'queued' | 'playing' | 'done' | 'failed';
  asked: string;
  phases: Phase[];
  failure?: string;
}

export interface Phase {
  name: string;
  at: string;
  wall: string;
  text?: string;
}

export interface Answer {
  answer: string;
  metadata: {
    request_id: string;
    trace_id?: string;
    model: string;
    provider: string;
    route: string;
    latency_ms: number;
    input_tokens?: number;
    output_tokens?: number;
    cost_usd?: number;
    cached: boolean;
    attempts: number;
    overrides: string[];
    quality?: { semantic_similarity?: number; groundedness?: number; ungrounded: boolean };
    safety: { prompt_injection: number; blocked: boolean; pii: string[] };
  };
}
