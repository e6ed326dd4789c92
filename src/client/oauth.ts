import type { DeviceAnswer, TokenAnswer } from '../contract/oauth.ts';
import { oauthPaths } from '../contract/oauth.ts';
import { ApiError } from './api-error.ts';
import { textOf } from './connection.ts';
import { type Fetch, fetchTransport } from './fetch-transport.ts';
import { nodeTransport } from './node-transport.ts';

/** A refusal of an OAuth endpoint; `error` is a word of its protocol, `message` is for people. */
export class OAuthRefusal extends Error {
  readonly error: string;
  readonly status: number;

  constructor(error: string, description: string, status: number) {
    super(description);
    this.name = 'OAuthRefusal';
    this.error = error;
    this.status = status;
  }
}

type Parameters = Readonly<Record<string, string | undefined>>;

/** How a program gets tokens. Each rejects with OAuthRefusal, or with ApiError where no server answered. */
export type OAuthClient = {
  token(parameters: Parameters): Promise<TokenAnswer>;
  deviceAuthorization(parameters: Parameters): Promise<DeviceAnswer>;
  revoke(parameters: Parameters): Promise<void>;
  /** RFC 8414, of which nothing but the issuer is used: it must be what answers come from. */
  metadata(): Promise<{ readonly issuer: string }>;
  /** The JWK set (RFC 7517) as it is written: no two servers share a key. */
  keys(): Promise<string>;
  close(): void;
};

export function createOAuthClient(options: {
  url: string;
  /** A Unix socket to ask instead of where `url` leads. */
  socketPath?: string | undefined;
  fetch?: Fetch | undefined;
  /** As for `createClient`. */
  authorities?: string | undefined;
}): OAuthClient {
  const url = new URL(options.url);
  const { fetch, authorities, socketPath } = options;
  const transport =
    fetch === undefined ? nodeTransport({ url, authorities, socketPath }) : fetchTransport({ url, fetch });
  const post = async <T>(path: string, parameters: Parameters): Promise<T> => {
    const form = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters)) if (value !== undefined) form.set(name, value);
    const { status, body } = await transport.send({
      method: 'POST',
      path,
      headers: { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
      body: form.toString(),
    });
    const answer = objectOf(await textOf(body), status);
    if (status < 400) return answer as T;
    const { error, error_description: description, detail } = answer;
    const words = typeof description === 'string' ? description : typeof detail === 'string' ? detail : '';
    throw new OAuthRefusal(typeof error === 'string' ? error : 'server_error', words, status);
  };
  const get = async (path: string) => {
    const headers = { accept: 'application/json' };
    const { status, body } = await transport.send({ method: 'GET', path, headers });
    return { answer: objectOf(await textOf(body), status), status };
  };
  return {
    token: (parameters) => post(oauthPaths.token, parameters),
    deviceAuthorization: (parameters) => post(oauthPaths.deviceAuthorization, parameters),
    revoke: async (parameters) => {
      await post(oauthPaths.revoke, parameters);
    },
    metadata: async () => {
      const { answer, status } = await get(oauthPaths.metadata);
      const { issuer } = answer;
      if (typeof issuer === 'string') return { issuer };
      throw new OAuthRefusal('server_error', 'The server does not say what it is called.', status);
    },
    keys: async () => {
      const { answer, status } = await get(oauthPaths.jwks);
      const { keys } = answer;
      if (Array.isArray(keys) && keys.length > 0) return JSON.stringify(keys);
      throw new OAuthRefusal('server_error', 'The server does not say which keys it has.', status);
    },
    close: () => transport.close(),
  };
}

function objectOf(text: string, status: number): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Falls through.
  }
  const detail = 'The server’s answer is not JSON. Is it Sealwright, and is there a proxy between?';
  throw new ApiError({ status, code: 'server.unintelligible', detail });
}
