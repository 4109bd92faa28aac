// Datadog RUM, where it is configured: sessions, views, clicks, errors, and trace headers to our functions. The library is loaded
// only then. Nothing of what people type or of the secret is reported.

import type { Config } from './types';

type Reporter = typeof import('@datadog/browser-rum').datadogRum;

let reporter: Reporter | undefined;

export async function startRUM(config: Config): Promise<void> {
  const rum = config.rum;
  if (!rum) return;
  const { datadogRum } = await import('@datadog/browser-rum');
  datadogRum.init({
    applicationId: rum.application_id,
    clientToken: rum.client_token,
    site: rum.site as NonNullable<Parameters<Reporter['init']>[0]['site']>,
    ...(rum.intake ? { proxy: ({ path, parameters }: { path: string; parameters: string }) => `${rum.intake}${path}?${parameters}` } : {}),
    service: config.service,
    ...(config.env ? { env: config.env } : {}),
    ...(config.version ? { version: config.version } : {}),
    sessionSampleRate: 100,
    sessionReplaySampleRate: 0,
    // What the library says about itself does not pass beforeSend.
    telemetrySampleRate: 0,
    traceSampleRate: 100,
    trackUserInteractions: true,
    trackResources: true,
    trackLongTasks: true,
    defaultPrivacyLevel: 'mask-user-input',
    // The browser remembers the address that the page was opened with, and that may have held the secret.
    beforeSend: (event) => {
      event.view.url = bare(event.view.url);
      if (event.view.referrer) event.view.referrer = bare(event.view.referrer);
      if (event.type === 'resource') event.resource.url = bare(event.resource.url);
      return true;
    },
    allowedTracingUrls: [{ match: location.origin, propagatorTypes: ['datadog', 'tracecontext'] }],
  });
  reporter = datadogRum;
}

function bare(url: string): string {
  return url.split('#', 1)[0] ?? '';
}

export function reportAction(name: string, context: Record<string, string> = {}): void {
  reporter?.addAction(name, context);
}

export function reportError(error: unknown, context: Record<string, string> = {}): void {
  reporter?.addError(error, context);
}
