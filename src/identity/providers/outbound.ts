import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { rootCertificates } from 'node:tls';
import { isProviderUrl } from '../../contract/providers.ts';
import { providerLimits } from './limits.ts';
import { ProviderRefusal } from './provider.ts';

/** The part of fetch that is used here. */
export type Ask = {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
};
export type Outbound = (url: string, ask: Ask) => Promise<Response>;

/**
 * The only way from here to a provider: one request, no redirect, an answer of bounded size in bounded time, TLS but
 * for loopback. Throws ProviderRefusal `unreachable`.
 */
export function openOutbound(options: {
  /** In PEM, believed besides those that Node ships. */
  authorities: readonly string[];
  /** Whether the provider itself is on this machine: no other may point us at plain http here. */
  loopback: boolean;
}): Outbound {
  const { authorities, loopback } = options;
  const trust = authorities.length === 0 ? {} : { ca: [...rootCertificates, ...authorities] };
  const agents = { http: new HttpAgent(), https: new HttpsAgent(trust) };
  return async (url, ask) => {
    const target = new URL(url);
    const isPlain = target.protocol === 'http:';
    if ((isPlain && !loopback) || !isProviderUrl(`${target.origin}${target.pathname}`))
      throw new ProviderRefusal('metadata', 'endpoint');
    const body = ask.body === undefined || ask.body === null ? null : String(ask.body);
    const outgoing = (isPlain ? httpRequest : httpsRequest)(target, {
      method: ask.method,
      headers: { ...ask.headers, ...(body === null ? {} : { 'content-length': Buffer.byteLength(body) }) },
      agent: isPlain ? agents.http : agents.https,
      signal: AbortSignal.timeout(providerLimits.exchangeMs),
    });
    try {
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        outgoing.once('response', resolve).once('error', reject).end(body);
      });
      return await read(answer);
    } catch (error) {
      outgoing.destroy();
      if (error instanceof ProviderRefusal) throw error;
      throw new ProviderRefusal('unreachable', codeOf(error), { cause: error });
    }
  };
}

async function read(answer: IncomingMessage): Promise<Response> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > providerLimits.answerBytesMax) throw new ProviderRefusal('answer', 'too-large');
    chunks.push(chunk);
  }
  const headers = new Headers();
  for (const [name, value] of Object.entries(answer.headers))
    if (value !== undefined) headers.set(name, [value].flat().join(', '));
  const status = answer.statusCode ?? 0;
  if (status < 200 || status > 599) throw new ProviderRefusal('answer', 'status');
  const isBodiless = status === 204 || status === 205 || status === 304;
  return new Response(isBodiless ? null : new Uint8Array(Buffer.concat(chunks)), { status, headers });
}

function codeOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  const text =
    name === 'AbortError' || name === 'TimeoutError' ? 'timeout' : typeof code === 'string' ? code : 'failed';
  return text.toLowerCase().replaceAll('_', '-').slice(0, 40);
}
