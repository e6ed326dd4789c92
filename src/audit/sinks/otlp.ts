import type { JsonObject, JsonValue } from '../../base/canonical-json.ts';
import type { Answer } from '../http-client.ts';
import { authorizationOf, openPost } from './http-post.ts';
import { shownReason } from './reason.ts';
import { severityOf } from './severity.ts';
import type { Outgoing, SendResult, Sink, SinkParts } from './sink.ts';

/** OpenTelemetry logs over HTTP in JSON (OTLP 1.x, `/v1/logs`). */
export function openOtlp(parts: SinkParts): Sink {
  const { settings, hostname, version } = parts;
  const post = openPost(parts, '/v1/logs');
  const headers = authorizationOf(settings);
  const resource = {
    ...settings.labels,
    'service.name': 'sealwright',
    'service.version': version,
    'host.name': hostname,
  };
  return {
    send: (batch, signal) =>
      post.send(otlpBody(batch, resource), headers, signal, (answer) => partialOf(answer, batch.length)),
    close: () => post.close(),
  };
}

/** An `ExportLogsServiceRequest` as JSON: names in lowerCamelCase, 64-bit numbers as strings. */
export function otlpBody(batch: readonly Outgoing[], resource: Readonly<Record<string, string>>): string {
  return JSON.stringify({
    resourceLogs: [
      {
        resource: { attributes: attributesOf(resource) },
        scopeLogs: [{ scope: { name: 'sealwright.audit' }, logRecords: batch.map(recordOf) }],
      },
    ],
  });
}

/** Numbers of the ranges INFO, WARN and ERROR. */
const severities = {
  informational: { severityNumber: 9, severityText: 'INFO' },
  medium: { severityNumber: 13, severityText: 'WARN' },
  high: { severityNumber: 17, severityText: 'ERROR' },
} as const;

function recordOf({ event, text }: Outgoing): JsonObject {
  const { action, actor, at, id, outcome, phase, resource, seq, stream } = event;
  return {
    timeUnixNano: `${Date.parse(at)}000000`,
    ...severities[severityOf(event)],
    body: { stringValue: text },
    attributes: attributesOf({
      'log.record.uid': id,
      'event.name': action,
      'sealwright.actor': actor.id,
      'sealwright.outcome': outcome,
      'sealwright.phase': phase,
      'sealwright.resource': resource.id,
      'sealwright.seq': String(seq),
      'sealwright.session': resource.session,
      'sealwright.stream': stream,
    }),
  };
}

function attributesOf(values: Readonly<Record<string, string | undefined>>): JsonValue[] {
  return Object.entries(values).flatMap(([key, stringValue]) =>
    stringValue === undefined ? [] : [{ key, value: { stringValue } }],
  );
}

/**
 * A receiver that took only a part says how many it will never take and not which, and must not be sent the request again:
 * so all of them are dead letters, which are sent one by one when they are sent again.
 */
function partialOf({ body }: Answer, events: number): SendResult {
  if (body === null) return { kind: 'later', reason: 'its answer is too long' };
  const { rejected, message } = readPartial(body);
  if (rejected === 0) return { kind: 'taken' };
  const said = shownReason(message, []);
  const reason = `it rejected ${rejected} of ${events}${said === null ? '' : `: ${said}`}`;
  return { kind: 'taken', refused: Array.from({ length: events }, (_, index) => ({ index, reason })) };
}

/** What is no `ExportLogsServiceResponse`, such as nothing at all, says that nothing was rejected. */
function readPartial(body: string): { rejected: number; message: string } {
  const none = { rejected: 0, message: '' };
  try {
    const { partialSuccess } = JSON.parse(body) as {
      partialSuccess?: { rejectedLogRecords?: unknown; errorMessage?: unknown };
    };
    const rejected = Number(partialSuccess?.rejectedLogRecords ?? 0);
    const message = partialSuccess?.errorMessage;
    if (!Number.isSafeInteger(rejected) || rejected <= 0) return none;
    return { rejected, message: typeof message === 'string' ? message : '' };
  } catch {
    return none;
  }
}
