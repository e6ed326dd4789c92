import { ApiError, errorOf } from './api-error.ts';
import { clientLimits } from './limits.ts';
import type { HttpResponse, Transport } from './transport.ts';

type Options = {
  readonly body?: unknown;
  readonly stream?: AsyncIterable<Uint8Array> | undefined;
  readonly mediaType?: string | undefined;
  readonly accept?: string | undefined;
  readonly ifMatch?: string | undefined;
  readonly idempotencyKey?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** A failure status whose answer is taken like a success. */
  readonly alsoTake?: number | undefined;
};

/**
 * Where bearer tokens come from that do not last: `token` before each request, and `renew` for another one once the
 * server refused that one; null where there is none. Both may ask the server, and neither is called for another's.
 */
export type TokenSource = {
  token(): Promise<string | null>;
  renew(refused: string): Promise<string | null>;
};

/** Requests of one caller to one server. Every method rejects with ApiError for what did not succeed. */
export class Connection {
  readonly #transport: Transport;
  readonly #tokens: TokenSource;

  constructor(transport: Transport, token: string | TokenSource | null) {
    this.#transport = transport;
    const isFixed = token === null || typeof token === 'string';
    this.#tokens = isFixed ? { token: async () => token, renew: async () => null } : token;
  }

  /** The JSON of an answer, as the contract has it: the server is trusted to keep it. */
  async json<T>(method: string, path: string, options: Options = {}): Promise<T> {
    return (await this.tagged<T>(method, path, options)).value;
  }

  async tagged<T>(method: string, path: string, options: Options = {}) {
    const { status, headers, body } = await this.send(method, path, options);
    const text = await textOf(body);
    try {
      return { value: JSON.parse(text) as T, headers };
    } catch (cause) {
      throw new ApiError({
        status,
        code: 'server.unintelligible',
        detail: 'The server’s answer is not JSON. Is it Sealwright, and is there a proxy between?',
        cause,
      });
    }
  }

  async empty(method: string, path: string): Promise<void> {
    await textOf((await this.send(method, path, {})).body);
  }

  /** The answer with its body yet to be read; whoever takes it reads it or leaves it. */
  async send(method: string, path: string, options: Options): Promise<HttpResponse> {
    const token = await this.#tokens.token();
    try {
      return await this.#sendAs(token, method, path, options);
    } catch (error) {
      const isRefused = error instanceof ApiError && error.code === 'auth.invalid';
      // A stream is gone once it was sent.
      if (!isRefused || token === null || options.stream !== undefined) throw error;
      const next = await this.#tokens.renew(token);
      if (next === null || next === token) throw error;
      return await this.#sendAs(next, method, path, options);
    }
  }

  async #sendAs(token: string | null, method: string, path: string, options: Options): Promise<HttpResponse> {
    const { body, stream, signal } = options;
    const response = await this.#transport.send({
      method,
      path,
      headers: headersOf(token, options),
      body: body === undefined ? stream : JSON.stringify(body),
      signal,
    });
    if (response.status < 400 || response.status === options.alsoTake) return response;
    throw errorOf(response.status, response.headers, await textOf(response.body).catch(() => ''));
  }
}

function headersOf(
  token: string | null,
  { body, stream, mediaType, accept, ifMatch, idempotencyKey }: Options,
): Record<string, string> {
  const headers: Record<string, string> = { accept: accept ?? 'application/json' };
  if (token !== null) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (stream !== undefined) headers['content-type'] = mediaType ?? 'application/octet-stream';
  if (ifMatch !== undefined) headers['if-match'] = ifMatch;
  if (idempotencyKey !== undefined) headers['idempotency-key'] = idempotencyKey;
  return headers;
}

/** All of a body as text, at most `jsonBytesMax`. */
export async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of body) {
      size += chunk.length;
      if (size > clientLimits.jsonBytesMax) throw new RangeError('the answer is too large');
      chunks.push(chunk);
    }
  } catch (cause) {
    const detail = 'The connection broke off in the middle of the answer. Try again.';
    throw new ApiError({ status: 0, code: 'server.unreachable', detail, cause });
  }
  return Buffer.concat(chunks).toString('utf8');
}
