import { createHmac, hash } from 'node:crypto';
import { openPost } from './http-post.ts';
import { sinkLimits } from './limits.ts';
import type { Sink, SinkParts } from './sink.ts';

/**
 * A POST of `{ "sink": …, "events": […] }`, signed as Standard Webhooks says: `Webhook-Signature` is `v1,` and the
 * HMAC-SHA256 of `<Webhook-Id>.<Webhook-Timestamp>.<body>` in base64. A batch that is sent again has the same id.
 */
export function openWebhook(parts: SinkParts): Sink {
  const { settings, now } = parts;
  const key = webhookKey(settings.secret ?? '');
  if (key === null) throw new Error('a webhook has a key');
  const post = openPost(parts, '/');
  return {
    send(batch, signal) {
      const body = `{"events":[${batch.map(({ text }) => text).join(',')}],"sink":"${settings.name}"}`;
      const id = `msg_${hash('sha256', batch.map(({ event }) => event.id).join('\n'), 'hex').slice(0, 32)}`;
      const timestamp = String(Math.floor(now() / 1000));
      const signature = webhookSignature(key, { id, timestamp, body });
      return post.send(
        body,
        { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature },
        signal,
      );
    },
    close: () => post.close(),
  };
}

/** `v1,…`, by which a receiver knows that it was us and when. */
export function webhookSignature(
  key: Buffer,
  { id, timestamp, body }: { id: string; timestamp: string; body: string },
): string {
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}

/** The key that `whsec_` and base64, or any other text, stands for; null where it is shorter than is safe. */
export function webhookKey(secret: string): Buffer | null {
  const encoded = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret)?.[1];
  const key = encoded === undefined ? Buffer.from(secret) : Buffer.from(encoded, 'base64');
  return key.length >= sinkLimits.webhookKeyBytesMin ? key : null;
}
