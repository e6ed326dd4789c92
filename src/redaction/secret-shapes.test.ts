import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { newId } from '../model/ids.ts';
import { plainRedactor } from './redactor.ts';
import { type ShapeBody, type ShapeRule, shapeRules } from './shape-rules.ts';

const filler = {
  lowerHex: '0123456789abcdef',
  hex: '0123456789abcdef',
  upper: 'AB2CD3EF4GH5',
  other: 'a1B2c3D4e5F6g7H8',
} as const;

/** Made here, so that no scanner takes this file for a leak. */
function exampleOf(rule: ShapeRule, begin: string, characters?: number): string {
  const body: ShapeBody = rule.body;
  if (body.form === 'private-key') return pemOf('PRIVATE KEY');
  if (body.form === 'user-info') return 'https://someone:hunter2-hunter2@host.example/';
  if (body.form !== 'run') return `${begin}=hunter2-hunter2`;
  const from = body.of in filler ? filler[body.of as keyof typeof filler] : filler.other;
  const text = from.repeat(10).slice(0, characters ?? body.least);
  return begin + (body.dots === undefined ? text : `${text.slice(0, 10)}.${text.slice(11)}`);
}

function pemOf(label: string): string {
  const body = 'MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEA\n'.repeat(4);
  return `-----BEGIN ${label}-----\n${body}-----END ${label}-----`;
}

for (const rule of shapeRules) {
  test(`${rule.id}: ${rule.what}, in the middle of a text`, () => {
    for (const begin of rule.begins) {
      const text = `before ${exampleOf(rule, begin)} after`;
      const shown = plainRedactor.text(text);
      const kept = rule.keepsBegin === true && rule.body.form !== 'user-info' ? begin : '';
      assert.ok(shown.startsWith(`before ${kept}`) && shown.endsWith(' after'), shown);
      assert.match(shown, new RegExp(`\\[redacted:${rule.id}\\]`), text);
      assert.doesNotMatch(shown, /hunter2|MIIB|a1B2c3|AB2CD3|0123456789ab/);
    }
  });

  test(`${rule.id}: one that is too short is left, as is one inside a word`, () => {
    const { body } = rule;
    if (body.form !== 'run') return;
    for (const begin of rule.begins) {
      if (body.mixed !== true) {
        const short: string = `before ${exampleOf(rule, begin, body.least - 1)} after`;
        assert.equal(plainRedactor.text(short), short);
      }
      const inside = `x${exampleOf(rule, begin)}`;
      if (rule.insideWords !== true) assert.equal(plainRedactor.text(inside), inside);
    }
  });
}

test('every secret that this product makes has a shape here', () => {
  const sources = ['src/identity', 'src/control/identity'].flatMap((folder) =>
    ['token-secret', 'client-secret', 'sign-ins', 'devices', 'password-resets', 'tickets', 'invitations']
      .concat('authorization', 'pending-sign-ins')
      .map((name) => join(import.meta.dirname, '..', '..', folder, `${name}.ts`)),
  );
  const prefixes = sources.flatMap((path) => {
    try {
      return [...readFileSync(path, 'utf8').matchAll(/'(sw[a-z]?_)'/g)].map((match) => match[1]!);
    } catch {
      return [];
    }
  });
  assert.ok(new Set(prefixes).size >= 8, `${prefixes}`);
  for (const prefix of prefixes) {
    const made = prefix + 'a1B2c3D4e5F6'.repeat(3);
    assert.equal(plainRedactor.text(`token ${made}.`), 'token [redacted:sealwright-token].');
  }
});

test('what only resembles a secret is left as it is', () => {
  const left = [
    ...(['session', 'run', 'token', 'event', 'request', 'credential'] as const).map((kind) => newId(kind, 1)),
    `${'0123456789abcdef'.repeat(4)}`,
    '9c3f1a2b4d5e6f708192a3b4c5d6e7f801234567',
    '123e4567-e89b-12d3-a456-426614174000',
    'scope:secret:read:missing',
    'token:refused',
    'secret:absent',
    'scope:token:write',
    'sealwright/1.0 (linux; x64) node/24.4.1',
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36',
    'risk-assessment-of-everything-that-we-do-here',
    'the password: must be longer',
    'basic authentication and bearer authentication',
    'https://github.com/example/repository.git',
    'ssh://git@github.com/example/repository.git',
    'git@github.com:example/repository.git',
    'spiffe://trust.example/session/ses_1/run/run_1',
    'max_tokens=4096',
    'input_tokens: 120',
    'tokenId=tok_00000000000000000000000000',
    'token_type=bearer',
    pemOf('PUBLIC KEY'),
    pemOf('CERTIFICATE'),
    'PWD=/workspace/project',
    '',
  ];
  for (const text of left) assert.equal(plainRedactor.text(text), text);
});

test('what a label names goes, in every way that labels are written', () => {
  const cases = {
    'DB_PASSWORD=hunter2 next': 'DB_PASSWORD=[redacted:labelled] next',
    'curl --api-key hunter2 https://x': 'curl --api-key [redacted:labelled] https://x',
    'curl --password=hunter2': 'curl --password=[redacted:labelled]',
    '{"clientSecret": "hunter two", "a": 1}': '{"clientSecret": "[redacted:labelled]", "a": 1}',
    '{\\"password\\":\\"hunter two\\",\\"a\\":1}': '{\\"password\\":\\"[redacted:labelled]\\",\\"a\\":1}',
    'Cookie: a=b; c=d\nHost: x': 'Cookie: [redacted:labelled]\nHost: x',
    'Authorization: Digest username="x"\r\nA: b': 'Authorization: [redacted:labelled]\r\nA: b',
    'https://x.example/?access_token=hunter2&page=2':
      'https://x.example/?access_token=[redacted:labelled]&page=2',
    'aws_secret_access_key = abc/def+ghi': 'aws_secret_access_key = [redacted:labelled]',
    "password => 'hunter two'": "password => '[redacted:labelled]'",
    'otp=123456': 'otp=[redacted:labelled]',
    'AccountKey=abc==;EndpointSuffix=x': 'AccountKey=[redacted:labelled];EndpointSuffix=x',
    'password: hunter2': 'password: [redacted:labelled]',
    'to=https%3A%2F%2Fx%3Faccess_token%3Dhunter2&a':
      'to=https%3A%2F%2Fx%3Faccess_token%3D[redacted:labelled]&a',
  };
  for (const [text, shown] of Object.entries(cases)) assert.equal(plainRedactor.text(text), shown);
});

test('an escape before a token does not make a word of it', () => {
  const token = `sw_${'a1B2c3D4e5F6'.repeat(3)}`;
  for (const before of ['x%3D', 'x%0a', 'line\\n', 'tab\\t', 'quote\\u0022'])
    assert.equal(plainRedactor.text(`${before}${token}`), `${before}[redacted:sealwright-token]`);
});

test('passwords in URLs go, with the rest of the URL left', () => {
  const cases = {
    'postgres://app:p@ss:w0rd@db.example:5432/x': 'postgres://app:[redacted:user-info]@db.example:5432/x',
    'clone https://hunter2hunter2@git.example/x': 'clone https://[redacted:user-info]@git.example/x',
    'redis://:hunter2@cache/0 and': 'redis://:[redacted:user-info]@cache/0 and',
  };
  for (const [text, shown] of Object.entries(cases)) assert.equal(plainRedactor.text(text), shown);
});

test('a private key is gone to the end of the text where its end is not there, and with escaped line breaks', () => {
  const key = pemOf('OPENSSH PRIVATE KEY');
  assert.equal(plainRedactor.text(`a ${key.slice(0, 100)}`), 'a [redacted:private-key]');
  assert.equal(plainRedactor.text(JSON.stringify({ k: key })), '{"k":"[redacted:private-key]"}');
});

test('no text makes the search slow: the worst ones cost what their length does', () => {
  const characters = 64 * 1024;
  const begins = [...new Set(shapeRules.flatMap((rule) => rule.begins))];
  const hostile = [
    ...begins,
    ...begins.map((begin) => `${begin}a`),
    ...[
      'eyJ-',
      '.eyJ',
      'eyJa.',
      'password="',
      "token='[redacted",
      'secret:secret',
      '://:',
      '://a@',
      'a:b@',
      '\\"',
    ],
    ...[
      '-----BEGIN PRIVATE KEY',
      '-----END ',
      'token=1',
      ' --token',
      'SK SK',
      '%',
      '"',
      '\\',
      '[redacted:',
      '==',
    ],
  ];
  for (const piece of hostile) {
    const text = piece.repeat(Math.ceil(characters / piece.length)).slice(0, characters);
    const start = performance.now();
    plainRedactor.text(text);
    const ms = performance.now() - start;
    // Two orders over what it takes; a search that went back would take minutes.
    assert.ok(ms < 1_000, `${JSON.stringify(piece)} takes ${Math.round(ms)} ms`);
  }
});
