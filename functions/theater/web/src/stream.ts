// Server-sent events over fetch, since an EventSource can't show a secret. A stream that ended as it should is followed by the next
// at once, one that broke after a while that grows; each goes on after the last entry that was seen.

import type { Entry, State } from './types';

export type Link = { kind: 'connecting' } | { kind: 'live' } | { kind: 'waiting'; until: number };

export interface Listener {
  state(state: State): void;
  entry(entry: Entry): void;
  trouble(detail: string): void;
  link(link: Link): void;
  refused(): void;
}

// silence is the longest that a living stream is silent: the function's heartbeat is 15 s.
const silence = 40_000;

export class Stream {
  private last = '';
  private failures = 0;
  private stopped = false;
  private abort = new AbortController();
  private wake: (() => void) | undefined;

  constructor(
    private readonly headers: () => Record<string, string>,
    private readonly listener: Listener,
  ) {}

  async run(): Promise<void> {
    while (!this.stopped) {
      this.listener.link({ kind: 'connecting' });
      const ended = await this.follow();
      if (this.stopped) return;
      if (ended === 'refused') {
        this.listener.refused();
        return;
      }
      this.failures = ended === 'end' ? 0 : this.failures + 1;
      const wait = this.failures === 0 ? 0 : Math.min(15_000, 500 * 2 ** (this.failures - 1)) * (0.75 + Math.random() / 2);
      if (wait > 0) {
        this.listener.link({ kind: 'waiting', until: Date.now() + wait });
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, wait);
          this.wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    }
  }

  // now ends the wait for the next try.
  now(): void {
    this.wake?.();
  }

  stop(): void {
    this.stopped = true;
    this.abort.abort();
    this.wake?.();
  }

  private async follow(): Promise<'end' | 'broken' | 'refused'> {
    this.abort = new AbortController();
    let watchdog = setTimeout(() => this.abort.abort(), silence);
    try {
      const headers = this.headers();
      if (this.last) headers['Last-Event-ID'] = this.last;
      const response = await fetch('/theater/events', { headers, signal: this.abort.signal, cache: 'no-store' });
      if (response.status === 401) return 'refused';
      if (!response.ok || !response.body) return 'broken';
      this.listener.link({ kind: 'live' });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let buffer = '';
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return 'broken';
        clearTimeout(watchdog);
        watchdog = setTimeout(() => this.abort.abort(), silence);
        buffer += value;
        for (let cut = buffer.indexOf('\n\n'); cut >= 0; cut = buffer.indexOf('\n\n')) {
          const block = buffer.slice(0, cut);
          buffer = buffer.slice(cut + 2);
          if (this.take(block)) return 'end';
        }
      }
    } catch {
      return 'broken';
    } finally {
      clearTimeout(watchdog);
      this.abort.abort();
    }
  }

  // take handles one event, and says whether the stream ended as it should.
  private take(block: string): boolean {
    let event = 'message';
    let id = '';
    let data = '';
    for (const line of block.split('\n')) {
      const [name, ...rest] = line.split(': ');
      const value = rest.join(': ');
      if (name === 'event') event = value;
      else if (name === 'id') id = value;
      else if (name === 'data') data += value;
    }
    if (!data) return false;
    if (id) this.last = id;
    this.failures = 0;
    switch (event) {
      case 'state':
        this.listener.state(JSON.parse(data) as State);
        break;
      case 'entry':
        this.listener.entry(JSON.parse(data) as Entry);
        break;
      case 'trouble':
        this.listener.trouble((JSON.parse(data) as { detail: string }).detail);
        break;
      case 'end':
        return true;
    }
    return false;
  }
}
