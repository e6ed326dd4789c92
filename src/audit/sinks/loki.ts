import { actions } from '../../model/actions.ts';
import { authorizationOf, openPost } from './http-post.ts';
import { namedOcsfActions } from './ocsf-classes.ts';
import type { Outgoing, Sink, SinkParts } from './sink.ts';

type LokiStream = {
  readonly stream: Readonly<Record<string, string>>;
  readonly values: [time: string, line: string, metadata: Record<string, string>][];
};

/** Grafana Loki 3, by its push API; ids are structured metadata, so that labels stay few. */
export function openLoki(parts: SinkParts): Sink {
  const { settings } = parts;
  const post = openPost(parts, '/loki/api/v1/push');
  const headers = {
    ...authorizationOf(settings),
    ...(settings.tenant === undefined ? {} : { 'x-scope-orgid': settings.tenant }),
  };
  return {
    send: (batch, signal) => post.send(lokiBody(batch, settings.labels ?? {}), headers, signal),
    close: () => post.close(),
  };
}

/** What Loki takes: events by their labels, each group in the order of the stream. */
export function lokiBody(batch: readonly Outgoing[], labels: Readonly<Record<string, string>>): string {
  const streams = new Map<string, LokiStream>();
  for (const { event, text } of batch) {
    const stream = { ...labels, ...labelsOf(event) };
    const key = JSON.stringify(stream);
    const group = streams.get(key) ?? { stream, values: [] };
    streams.set(key, group);
    group.values.push([timeOf(event), text, metadataOf(event)]);
  }
  return JSON.stringify({ streams: [...streams.values()] });
}

/** Each has few values, whatever a writer that was taken over puts into its events. */
function labelsOf({ stream, action, outcome }: Outgoing['event']): Record<string, string> {
  const object = action.split('.', 1)[0]!;
  return { job: 'sealwright', stream, object: objects.has(object) ? object : 'other', outcome };
}

/** The first words of the actions that are known. */
const objects: ReadonlySet<string> = new Set(
  [...Object.keys(actions), ...namedOcsfActions].map((action) => action.split('.', 1)[0]!),
);

function metadataOf({ id, seq, action, actor, resource }: Outgoing['event']): Record<string, string> {
  return {
    ...{ event_id: id, seq: String(seq), action, actor: actor.id },
    ...(resource.id === undefined ? {} : { resource: resource.id }),
    ...(resource.session === undefined ? {} : { session: resource.session }),
  };
}

/** In nanoseconds; those below a millisecond keep the order of the stream. */
function timeOf({ at, seq }: Outgoing['event']): string {
  return String(BigInt(Date.parse(at)) * 1_000_000n + BigInt(seq % 1_000_000));
}
