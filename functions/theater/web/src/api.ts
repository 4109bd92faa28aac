// Calls of the function theater. The secret is in memory and in this tab's session storage, nowhere else.

import type { Answer, Config, Performance } from './types';

const storage = 'lrcp-control-secret';

// secret takes the secret from the address, which it leaves at once, or from where this tab kept it.
export function takeSecret(): string {
  const given = new URLSearchParams(location.hash.slice(1)).get('key');
  if (given !== null) {
    history.replaceState(null, '', location.pathname + location.search);
    keepSecret(given);
  }
  return sessionStorage.getItem(storage) ?? '';
}

export function keepSecret(secret: string): void {
  if (secret) sessionStorage.setItem(storage, secret);
  else sessionStorage.removeItem(storage);
}

// Problem is an answer that says what is wrong, in the form of RFC 9457.
export class Problem extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly requestID?: string,
  ) {
    super(detail);
  }
}

async function problem(response: Response): Promise<Problem> {
  let detail = `the answer has the status ${response.status}`;
  let id: string | undefined;
  try {
    const doc = (await response.json()) as { detail?: string; title?: string; request_id?: string; errors?: { field: string; detail: string }[] };
    detail = doc.detail ?? doc.title ?? detail;
    if (doc.errors?.length) detail += ': ' + doc.errors.map((e) => `${e.field} ${e.detail}`).join('; ');
    id = doc.request_id;
  } catch {
    // The status has to do.
  }
  return new Problem(response.status, detail, id);
}

export async function config(signal?: AbortSignal): Promise<Config> {
  const response = await fetch('/theater/config', signal ? { signal } : {});
  if (!response.ok) throw await problem(response);
  return (await response.json()) as Config;
}

export class API {
  readonly session = crypto.randomUUID();

  // secret may change: a wrong one is asked for again.
  secret = '';

  headers(): Record<string, string> {
    return { Authorization: `Bearer ${this.secret}` };
  }

  private async post<T>(path: string, body: unknown): Promise<T> {
    const response = await fetch(path, {
      method: 'POST',
      headers: { ...this.headers(), 'Content-Type': 'application/json', 'X-Session-Id': this.session },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw await problem(response);
    return (await response.json()) as T;
  }

  play(scenario: string): Promise<Performance> {
    return this.post(`/theater/scenarios/${scenario}`, this.call());
  }

  revert(overrideID: string): Promise<unknown> {
    return this.post('/theater/revert', { ...this.call(), override_id: overrideID });
  }

  ask(question: string, document: string): Promise<Answer> {
    return this.post('/theater/ask', document ? { question, document } : { question });
  }

  private call(): { idempotency_key: string; timestamp: string } {
    return { idempotency_key: `theater-${crypto.randomUUID()}`, timestamp: new Date().toISOString() };
  }
}
