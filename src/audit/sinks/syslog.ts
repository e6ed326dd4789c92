import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { sinkLimits } from './limits.ts';
import { failureCode } from './reason.ts';
import { severityOf } from './severity.ts';
import type { Outgoing, SendResult, Sink, SinkParts } from './sink.ts';

/**
 * RFC 5424 messages over TLS (RFC 5425), or over TCP on loopback, with their octets counted. Syslog has no word for
 * "received", but TCP has: each batch has a connection of its own, which we end, and the receiver ends it from its side
 * only after it has read it to its end. A connection that it ends or breaks before that was not taken; that we wait a moment
 * before we end it tells its end from one that it decided on by itself.
 */
export function openSyslog(parts: SinkParts): Sink {
  const { settings, hostname } = parts;
  const facility = settings.facility ?? sinkLimits.syslogFacility;
  return {
    send: (batch, signal) =>
      deliver(parts, Buffer.concat(batch.map((one) => frameOf(one, { hostname, facility }))), signal),
    close: async () => {},
  };
}

async function deliver(parts: SinkParts, bytes: Buffer, signal: AbortSignal): Promise<SendResult> {
  const ends = AbortSignal.any([signal, AbortSignal.timeout(parts.sendMs)]);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // It may settle when nobody waits for it any more.
  promise.catch(() => undefined);
  const interrupt = () => reject(ends.reason);
  ends.addEventListener('abort', interrupt);
  let hasEnded = false;
  let settling: NodeJS.Timeout | undefined;
  const socket = open(parts, () => {
    socket.write(bytes, () => {
      settling = setTimeout(() => {
        hasEnded = true;
        socket.end();
      }, sinkLimits.syslogSettleMs);
    });
  });
  socket.on('error', reject).once('close', () => reject(endedEarly));
  socket.once('end', () => (hasEnded ? resolve() : reject(endedEarly)));
  // What it says is nothing to us, but its end is only seen by whoever reads.
  socket.resume();
  try {
    if (ends.aborted) throw ends.reason;
    await promise;
    return { kind: 'taken' };
  } catch (error) {
    return { kind: 'later', reason: failureCode(error) };
  } finally {
    clearTimeout(settling);
    ends.removeEventListener('abort', interrupt);
    socket.destroy();
  }
}

const endedEarly = Object.assign(new Error('ended early'), { code: 'it ended the connection before we did' });

function open({ settings }: SinkParts, onOpen: () => void): Socket {
  const { hostname, port } = new URL(settings.url.replace(/^syslog\+\w+/, 'http'));
  const host = hostname.replace(/^\[|\]$/g, '');
  // Half open, so that the end that we see is the receiver's own.
  const address = { host, port: Number(port === '' ? 80 : port), allowHalfOpen: true };
  if (settings.url.startsWith('syslog+tcp:')) return connectTcp(address, onOpen);
  const { authorities, identity } = settings;
  const options = {
    ...address,
    ...(authorities.length === 0 ? {} : { ca: [...authorities] }),
    ...identity,
    ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
  };
  return connectTls(options, onOpen);
}

/** Of RFC 5424 §6.2.1. */
const severities = { informational: 6, medium: 4, high: 2 } as const;

/** `<length> <message>` (RFC 5425 §4.3). */
export function frameOf(
  { event, text }: Outgoing,
  { hostname, facility }: { hostname: string; facility: number },
): Buffer {
  const { action, actor, at, id, outcome, seq, stream } = event;
  const priority = facility * 8 + severities[severityOf(event)];
  const data = Object.entries({ id, stream, seq: String(seq), outcome, actor: actor.id })
    .map(([name, value]) => ` ${name}="${parameter(value)}"`)
    .join('');
  const header = `<${priority}>1 ${at} ${word(hostname, 255)} sealwright - ${word(action, 32)}`;
  const message = Buffer.from(`${header} [sealwright@32473${data}] ${text}`);
  return Buffer.concat([Buffer.from(`${message.length} `), message]);
}

/** A field of the header: printable ASCII, and `-` for nothing. */
function word(text: string, charactersMax: number): string {
  return text.replace(/[^\x21-\x7E]/g, '').slice(0, charactersMax) || '-';
}

/** A value of structured data (§6.3.3): a line break would be a second message to whoever does not count. */
function parameter(text: string): string {
  return text.replace(/\p{Cc}/gu, ' ').replace(/["\\\]]/g, '\\$&');
}
