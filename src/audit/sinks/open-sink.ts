import { sinkSchemeOf, sinkSchemes } from '../../contract/sinks.ts';
import type { Sink, SinkParts } from './sink.ts';

/** The implementation that the scheme of the sink's URL names; the others are not even loaded. Opens no connection yet. */
export async function openSink(parts: SinkParts): Promise<Sink> {
  const scheme = sinkSchemeOf(parts.settings.url);
  if (scheme === null) throw new Error('no sink has this scheme');
  switch (sinkSchemes[scheme]) {
    case 'loki':
      return (await import('./loki.ts')).openLoki(parts);
    case 'otlp':
      return (await import('./otlp.ts')).openOtlp(parts);
    case 'webhook':
      return (await import('./webhook.ts')).openWebhook(parts);
    case 'syslog':
      return (await import('./syslog.ts')).openSyslog(parts);
    case 'file':
      return (await import('./file.ts')).openFile(parts);
  }
}
