import { createHmac, generateKeyPairSync, hash, sign } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { parseCheckpoint, type UnverifiedCheckpoint } from '../../src/audit/checkpoint.ts';
import { cosignedText } from '../../src/audit/cosignature.ts';
import { verifyConsistency } from '../../src/audit/merkle-verify.ts';
import { keyTypes, publicPart, signedBy, type VerifierKey } from '../../src/audit/signed-note.ts';
import type { WitnessSettings } from '../../src/contract/witnesses.ts';
import { loopbackPair } from './certificates.ts';
import { type Behaviour, listen, misbehave, textOf } from './sink-receivers.ts';

/** What a stand-in does: take, misbehave as receivers do, or take and break the connection before it answers. */
export type WitnessBehaviour = Behaviour | 'take-and-die';

/** A witness that keeps what it took. */
export type WitnessStand = {
  readonly settings: Pick<WitnessSettings, 'url'> & Partial<WitnessSettings>;
  /** The notes that it has of a stream, in the order of their sizes. */
  kept(stream: string): string[];
  /** Requests that reached it. */
  readonly asked: number;
  behave: WitnessBehaviour;
  close(): Promise<void>;
};

export type HttpStand = WitnessStand & { readonly requests: { method: string; url: string }[] };

export const secretOfTests = 'a-secret-of-the-tests-of-witnesses';

type Answered = { status: number; body: string; headers?: Record<string, string> };
type Judge = (request: IncomingMessage, body: string) => Answered;

/** Serves `judge` with TLS under an authority of its own. */
async function openStand(
  judge: Judge,
  kept: WitnessStand['kept'],
): Promise<{ stand: HttpStand; origin: string }> {
  const pair = loopbackPair();
  const sockets = new Set<Socket>();
  const server: Server = createHttpsServer({ ...pair, cert: pair.certificate });
  const stand: HttpStand = {
    settings: { url: '', authorities: [pair.authority] },
    kept,
    asked: 0,
    behave: 'take',
    requests: [],
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
  });
  server.on('request', async (request: IncomingMessage, response: ServerResponse) => {
    (stand as { asked: number }).asked += 1;
    stand.requests.push({ method: request.method!, url: request.url! });
    const body = await textOf(request).catch(() => null);
    if (body === null) return;
    const { behave } = stand;
    if (behave !== 'take' && behave !== 'take-and-die') return misbehave(behave, request, response);
    const answer = judge(request, body);
    if (behave === 'take-and-die') request.socket.destroy();
    else response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  return { stand, origin: `https://127.0.0.1:${await listen(server)}` };
}

/** A receiver that remembers one newest checkpoint of each stream, and refuses what contradicts it by size alone. */
export async function openPostStand(): Promise<HttpStand> {
  const notes = new Map<string, string[]>();
  const { stand, origin } = await openStand(
    (request, body) => {
      if (request.headers.authorization !== `Bearer ${secretOfTests}`) return { status: 401, body: 'who?' };
      const stream = String(request.headers['sealwright-stream']);
      const checkpoint = parseCheckpoint(body);
      if (checkpoint === null || request.headers['sealwright-size'] !== String(checkpoint.size))
        return { status: 400, body: 'no checkpoint' };
      const all = notes.get(stream) ?? [];
      const newest = all.length === 0 ? null : parseCheckpoint(all.at(-1)!);
      if (newest?.note.text === checkpoint.note.text) return { status: 200, body: '' };
      if (newest !== null && newest.size >= checkpoint.size) return { status: 409, body: 'two histories' };
      notes.set(stream, [...all, body]);
      return { status: 201, body: '' };
    },
    (stream) => notes.get(stream) ?? [],
  );
  Object.assign(stand.settings, { url: `post+${origin}/checkpoints`, secret: secretOfTests });
  return stand;
}

/** A folder of files. */
export async function openFileStand(folder: string): Promise<WitnessStand> {
  const kept = (stream: string) => {
    try {
      const names = readdirSync(join(folder, stream), { recursive: true, encoding: 'utf8' });
      const whole = names.filter((name) => name.endsWith('.checkpoint')).sort();
      return whole.map((name) => readFileSync(join(folder, stream, name), 'utf8'));
    } catch {
      return [];
    }
  };
  return {
    settings: { url: `file://${folder}/` },
    kept,
    asked: 0,
    behave: 'take',
    close: async () => undefined,
  };
}

export type TlogStand = HttpStand & {
  readonly key: VerifierKey;
  /** Logs that it takes, by origin; any that signs with its own key where it is empty. */
  readonly logs: Map<string, VerifierKey>;
  /** Forgets everything, as one does that was made anew. */
  forget(): void;
  /** What it answers instead of its signature. */
  spoil: ((line: string) => string) | null;
};

/** A witness of C2SP tlog-witness that checks what it must. */
export async function openTlogStand(name = 'witness.example/w1'): Promise<TlogStand> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const key = publicPart(name, privateKey, keyTypes.cosignature);
  const newest = new Map<string, UnverifiedCheckpoint>();
  const notes = new Map<string, string[]>();
  const logs = new Map<string, VerifierKey>();
  const cosign = (text: string) => {
    const at = 1_767_225_600;
    const time = Buffer.alloc(8);
    time.writeBigUInt64BE(BigInt(at));
    const signature = sign(null, Buffer.from(cosignedText(text, at)), privateKey);
    const bytes = Buffer.concat([Buffer.from(key.id, 'hex'), time, signature]);
    const line = `— ${name} ${bytes.toString('base64')}\n`;
    return (stand as TlogStand).spoil?.(line) ?? line;
  };
  const conflict = (size: number) => ({
    status: 409,
    body: `${size}\n`,
    headers: { 'content-type': 'text/x.tlog.size' },
  });
  const { stand, origin } = await openStand(
    (request, body) => {
      if (request.method !== 'POST' || request.url !== '/logs/add-checkpoint')
        return { status: 404, body: '' };
      const end = body.indexOf('\n\n');
      const [old = '', ...proof] = body.slice(0, end).split('\n');
      const checkpoint = parseCheckpoint(body.slice(end + 2));
      const oldSize = /^old (0|[1-9]\d*)$/.exec(old)?.[1];
      if (checkpoint === null || oldSize === undefined || proof.length > 63) return { status: 400, body: '' };
      const trusted = logs.get(checkpoint.origin);
      if (logs.size > 0 && trusted === undefined) return { status: 404, body: 'unknown log' };
      if (trusted !== undefined && signedBy(checkpoint.note, [trusted]) === null)
        return { status: 403, body: 'unknown key' };
      if (Number(oldSize) > checkpoint.size) return { status: 400, body: '' };
      const known = newest.get(checkpoint.origin);
      if ((known?.size ?? 0) !== Number(oldSize)) return conflict(known?.size ?? 0);
      if (known?.size === checkpoint.size && !known.root.equals(checkpoint.root)) return conflict(known.size);
      const hashes = proof.map((line) => Buffer.from(line, 'base64'));
      const isGrown =
        known === undefined
          ? proof.length === 0
          : verifyConsistency(known.size, checkpoint.size, hashes, known.root, checkpoint.root);
      if (!isGrown) return { status: 422, body: 'inconsistent' };
      newest.set(checkpoint.origin, checkpoint);
      const stream = checkpoint.origin.split('/').at(-1)!;
      const others = (notes.get(stream) ?? []).filter(
        (note) => parseCheckpoint(note)!.size < checkpoint.size,
      );
      notes.set(stream, [...others, body.slice(end + 2)]);
      return { status: 200, body: cosign(checkpoint.note.text) };
    },
    (stream) => notes.get(stream) ?? [],
  );
  Object.assign(stand.settings, { url: `tlog+${origin}/logs/`, key: key.text });
  const forget = () => newest.clear();
  return Object.assign(stand, { key, logs, forget, spoil: null });
}

export type S3Stand = HttpStand & {
  readonly objects: Map<string, string>;
  /** The headers that came with each object. */
  readonly headers: Map<string, IncomingMessage['headers']>;
};

const accessKeyId = 'key-of-the-tests';
const region = 'eu-test-1';

/** A bucket that takes what is truly signed, makes and never replaces, and lists by key. */
export async function openS3Stand(): Promise<S3Stand> {
  const objects = new Map<string, string>();
  const headers: S3Stand['headers'] = new Map();
  const { stand, origin } = await openStand(
    (request, body) => {
      const problem = signatureProblem(request, body);
      if (problem !== null) return { status: 403, body: `<Error><Code>${problem}</Code></Error>` };
      const url = new URL(request.url!, 'https://bucket.example');
      const key = decodeURIComponent(url.pathname.replace(/^\/bucket\/?/, ''));
      if (request.method === 'PUT') {
        if (request.headers['if-none-match'] !== '*') return { status: 400, body: '' };
        if (objects.has(key)) return { status: 412, body: '<Error><Code>PreconditionFailed</Code></Error>' };
        objects.set(key, body);
        headers.set(key, request.headers);
        return { status: 200, body: '' };
      }
      if (key !== '') {
        const found = objects.get(key);
        return found === undefined
          ? { status: 404, body: '<Error><Code>NoSuchKey</Code></Error>' }
          : { status: 200, body: found };
      }
      return { status: 200, body: listed(url.searchParams) };
    },
    (stream) =>
      [...objects]
        .filter(([key]) => key.startsWith(`logs/prod/${stream}/`))
        .sort()
        .map(([, note]) => note),
  );
  const listed = (query: URLSearchParams) => {
    const keys = [...objects.keys()]
      .filter((key) => key.startsWith(query.get('prefix') ?? '') && key > (query.get('start-after') ?? ''))
      .sort()
      .slice(0, Number(query.get('max-keys')));
    const contents = keys.map((key) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`).join('');
    return `<?xml version="1.0"?><ListBucketResult><Name>bucket</Name>${contents}</ListBucketResult>`;
  };
  Object.assign(stand.settings, {
    ...{ url: 's3://bucket/logs/prod', endpoint: origin, region, accessKeyId, secret: secretOfTests },
  });
  return Object.assign(stand, { objects, headers });
}

/** As Amazon verifies it, written apart from what signs: null where the signature is right. */
export function signatureProblem(request: IncomingMessage, body: string): string | null {
  const [, id, date, names, signature] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/eu-test-1\/s3\/aws4_request,SignedHeaders=([^,]+),Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? '',
    ) ?? [];
  if (id !== accessKeyId || date === undefined || names === undefined) return 'InvalidAccessKeyId';
  const sent = Object.keys(request.headers).filter((name) => name.startsWith('x-amz-') || name === 'host');
  if (sent.some((name) => !names.split(';').includes(name))) return 'UnsignedHeader';
  if (request.headers['x-amz-content-sha256'] !== hash('sha256', body)) return 'XAmzContentSHA256Mismatch';
  const [path = '', query = ''] = request.url!.split('?');
  const signed = names.split(';').map((name) => `${name}:${String(request.headers[name])}\n`);
  const canonical = `${request.method}\n${path}\n${query.split('&').sort().join('&')}\n${signed.join('')}\n${names}\n${request.headers['x-amz-content-sha256']}`;
  const at = String(request.headers['x-amz-date']);
  const toSign = `AWS4-HMAC-SHA256\n${at}\n${date}/eu-test-1/s3/aws4_request\n${hash('sha256', canonical)}`;
  let key: Buffer = Buffer.from(`AWS4${secretOfTests}`);
  for (const part of [date, region, 's3', 'aws4_request', toSign])
    key = createHmac('sha256', key).update(part).digest();
  return key.toString('hex') === signature ? null : 'SignatureDoesNotMatch';
}

/** A server on loopback in the clear, which answers everything alike. */
export async function openPlainStand(answer: Answered): Promise<{ url: string; close(): Promise<void> }> {
  const server = createHttpServer((request, response) => {
    request.resume().on('end', () => response.writeHead(answer.status, answer.headers).end(answer.body));
  });
  const port = await listen(server);
  return {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
