import { createHmac, hash } from 'node:crypto';

/**
 * AWS Signature Version 4 in the Authorization header, for a payload that is known as a whole
 * (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html).
 */
export type SigningKey = {
  readonly accessKeyId: string;
  readonly secret: string;
  readonly region: string;
};

export type SignedRequest = {
  readonly method: string;
  readonly host: string;
  /** Encoded once, as it is sent. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** Besides `host` and those that signing adds; names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly payload: string;
};

const algorithm = 'AWS4-HMAC-SHA256';
const service = 's3';

/** The headers to send: those of the request, the date, the payload's hash and the signature over all of them. */
export function signedHeaders(
  request: SignedRequest,
  key: SigningKey,
  nowMs: number,
): Record<string, string> {
  const at = new Date(nowMs).toISOString().replace(/[-:]|\.\d{3}/g, '');
  const payloadHash = hash('sha256', request.payload);
  const headers: Record<string, string> = {
    ...request.headers,
    'x-amz-content-sha256': payloadHash,
    'x-amz-date': at,
  };
  const all = Object.entries({ ...headers, host: request.host }).sort(byName);
  const names = all.map(([name]) => name).join(';');
  const canonical = [
    request.method,
    request.path,
    queryText(request.query),
    ...all.map(([name, value]) => `${name}:${value.trim().replace(/ +/g, ' ')}`),
    '',
    names,
    payloadHash,
  ].join('\n');
  const scope = `${at.slice(0, 8)}/${key.region}/${service}/aws4_request`;
  const toSign = [algorithm, at, scope, hash('sha256', canonical)].join('\n');
  const signature = hmac(derivedKey(key, at.slice(0, 8)), toSign).toString('hex');
  const credential = `Credential=${key.accessKeyId}/${scope}`;
  const authorization = `${algorithm} ${credential},SignedHeaders=${names},Signature=${signature}`;
  return { ...headers, authorization };
}

/** Sorted and encoded, as it is signed and sent. */
export function queryText(query: Readonly<Record<string, string>>): string {
  return Object.entries(query)
    .map(([name, value]): [string, string] => [encoded(name), encoded(value)])
    .sort(byName)
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

/** A key of an object as a path: every octet but letters, digits and `-._~/` in per cent. */
export function pathOfKey(key: string): string {
  return key.split('/').map(encoded).join('/');
}

function encoded(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function derivedKey({ secret, region }: SigningKey, date: string): Buffer {
  return [date, region, service, 'aws4_request'].reduce<Buffer>(hmac, Buffer.from(`AWS4${secret}`));
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : 1;
}
