import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Instance, startInstance } from '../support/instance.ts';

/**
 * G3, for the record and the logs: secrets are sent to a real server in every place that a caller controls, as they are
 * and encoded, and then everything that its processes wrote is searched. A harmless word goes the same ways and must be
 * found, or nothing found would mean nothing written.
 */
let instance: Instance;
before(async () => {
  instance = await startInstance({ environment: { SEALWRIGHT_LOG_LEVEL: 'debug' } });
});
after(() => instance?.remove());

function filesUnder(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesUnder(path) : [path];
  });
}

/** Everything on the record and in the logs of the processes. */
function written(): string {
  const files = ['audit', 'logs'].flatMap((name) => filesUnder(join(instance.home, name)));
  assert.ok(files.some((path) => path.includes('audit')) && files.some((path) => path.includes('logs')));
  return files.map((path) => readFileSync(path, 'utf8')).join('\n');
}

/** As it is, and as programs write it into other texts. */
function spellingsOf(secret: string): Record<string, string> {
  const bytes = Buffer.from(secret);
  return {
    plain: secret,
    base64: bytes.toString('base64'),
    base64url: bytes.toString('base64url'),
    shifted: Buffer.from(`x${secret}y`).toString('base64'),
    shiftedTwice: Buffer.from(`xx${secret}yy`).toString('base64'),
    url: [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''),
    hex: bytes.toString('hex'),
    split: `${secret.slice(0, 9)} ${secret.slice(9)}`,
  };
}

/** Parts that give a spelling away wherever it was cut. */
function tracesOf(spelling: string): string[] {
  const part = 12;
  const last = spelling.length - part - 4;
  return [4, last >> 1, last].map((from) => spelling.slice(from, from + part));
}

async function send(method: string, path: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(`${instance.url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${instance.bootstrapToken}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    body: body === undefined ? null : JSON.stringify(body),
  });
  return {
    status: response.status,
    body: (await response.json().catch(() => null)) as { id?: string } | null,
  };
}

/** Sends a text in every place of requests that callers fill in; most are refused, and that is on record too. */
async function sendEverywhere(text: string): Promise<void> {
  const named = {
    'user-agent': `agent/1 ${text}`,
    'x-request-id': text,
    referer: `https://x.example/${text}`,
  };
  const { body } = await send('POST', '/api/v1/sessions', { name: text }, named);
  await send(
    'POST',
    '/api/v1/sessions',
    { name: 'x', repo: { url: `https://u:${text}@git.example/r` } },
    named,
  );
  await send('POST', '/api/v1/sessions', {
    name: 'x',
    repo: { url: `https://git.example/${text}`, ref: text },
  });
  const session = body?.id ?? 'ses_none';
  const run = {
    session,
    command: [text, '--token', text],
    name: text,
    env: { PLAIN: text },
  };
  await send('POST', '/api/v1/runs', run, named);
  await send('POST', '/api/v1/runs', { ...run, egress: { mode: 'full', reason: text } }, named);
  await send('PUT', '/api/v1/policies/battery', { reason: text, document: { rules: [] } }, named);
  await send('POST', '/api/v1/tokens', { name: text, scopes: ['run:read'] }, named);
  await send('PUT', `/api/v1/access/policies/p`, { reason: text, text }, named);
  const place = encodeURIComponent(text);
  for (const path of ['runs', 'sessions', 'policies', 'users', 'agents', 'roles', 'teams'])
    await send('GET', `/api/v1/${path}/${place}`, undefined, named);
  await send('GET', `/api/v1/runs?name=${place}&access_token=${place}`, undefined, named);
  await send('GET', `/api/v1/audit/events?actor=${place}`, undefined, named);
  const unknown = { ...named, authorization: `Bearer ${/^[\x21-\x7e]+$/.test(text) ? text : 'x'}` };
  await send('GET', '/api/v1/runs', undefined, unknown);
  await send('POST', '/auth/password', { name: text, password: text }, named);
}

async function settled(): Promise<void> {
  // Outcomes are written after the answer: an event that follows them all is waited for.
  await send('POST', '/api/v1/sessions', { name: 'the last one of all' });
  const deadline = performance.now() + 15_000;
  while (!written().includes('the last one of all')) {
    assert.ok(performance.now() < deadline);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('no secret is on the record or in a log', () => {
  test('the harmless word that went every way is there: the search finds what is written', async () => {
    await sendEverywhere('harmless-marker');
    await settled();
    const text = written();
    const places = [
      '"userAgent":"agent/1 harmless-marker"',
      '"name":"harmless-marker"',
      '"reason":"harmless-marker"',
    ];
    for (const place of [...places, '"program":"harmless-marker"', '"ref":"harmless-marker"'])
      assert.ok(text.includes(place), place);
  });

  test('a value that a living run was given, in every spelling', async () => {
    const secret = randomBytes(15).toString('base64url');
    const { body: session } = await send('POST', '/api/v1/sessions', {});
    const { body: run } = await send('POST', '/api/v1/runs', {
      ...{ session: session!.id, command: ['sleep', '600'], env: { DEPLOY_TOKEN: secret } },
    });
    for (const spelling of Object.values(spellingsOf(secret))) await sendEverywhere(spelling);
    await settled();
    const text = written();
    assert.match(text, /\[redacted:run-environment\]/);
    for (const [name, spelling] of Object.entries(spellingsOf(secret)))
      for (const trace of tracesOf(spelling)) assert.ok(!text.includes(trace), name);
    const stopped = await send('POST', `/api/v1/runs/${run!.id}/stop`, undefined);
    assert.ok(stopped.status < 300, 'the run lived until here');
  });

  test('the bootstrap token, in every spelling', async () => {
    const secret = instance.bootstrapToken;
    for (const spelling of Object.values(spellingsOf(secret))) await sendEverywhere(spelling);
    await settled();
    const text = written();
    for (const [name, spelling] of Object.entries(spellingsOf(secret)))
      for (const trace of tracesOf(spelling)) assert.ok(!text.includes(trace), name);
  });

  test('tokens that only their shape tells', async () => {
    const body = randomBytes(30).toString('hex').slice(0, 40);
    const tokens = [
      `${'ghp'}_${body}`,
      `${'glpat'}-${body}`,
      `${'sk'}-ant-${body}`,
      `${'xoxb'}-${body}`,
      `${'AK'}IA${body.replace(/[^0-9]/g, '7').slice(0, 16)}`,
      `eyJhbGciOiJIUzI1NiJ9.eyJ${body}.${body}`,
      `password=${body}`,
      `https://user:${body}@host.example/`,
      `-----BEGIN PRIVATE KEY-----\\n${body}`,
    ];
    for (const token of tokens) await sendEverywhere(token);
    await settled();
    const text = written();
    for (const trace of tracesOf(body)) assert.ok(!text.includes(trace), trace);
    assert.match(text, /\[redacted:github-token\]/);
  });
});
