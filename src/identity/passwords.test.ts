import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { hash, hashRaw } from '@node-rs/argon2';
import { listCommonPasswords } from '../../tools/known-passwords.ts';
import { identityLimits } from './limits.ts';
import { commonPasswords, passwordProblem } from './password-rules.ts';
import { isOutdated, openPasswords, type Verdict } from './passwords.ts';

const ada = { name: 'ada', displayName: 'Ada Lovelace', email: 'countess@example.org' };

/** Over hashes that are at hand. */
function openTestPasswords() {
  const passwords = openPasswords();
  return {
    hash: passwords.hash,
    async verify(text: string, kept: string | null): Promise<Pick<Verdict, 'ok' | 'upgraded'>> {
      const { ok, upgraded } = await passwords.verify(text, async () => kept, null);
      return { ok, upgraded };
    },
  };
}

describe('a password', () => {
  it('is hashed with Argon2id at 64 MiB and three passes, with a salt of its own', async () => {
    const passwords = openTestPasswords();
    const [one, two] = [
      await passwords.hash('correct horse', null),
      await passwords.hash('correct horse', null),
    ];
    assert.match(one, /^\$argon2id\$v=19\$m=65536,t=3,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
    assert.notEqual(one, two);
    assert.deepEqual(await passwords.verify('correct horse', one), { ok: true, upgraded: null });
    for (const wrong of ['correct hors', 'Correct horse', 'correct horse ', ''])
      assert.deepEqual(await passwords.verify(wrong, one), { ok: false, upgraded: null });
  });

  it('is the same however the keyboard writes its letters, and no password is cut off', async () => {
    const passwords = openTestPasswords();
    const composed = await passwords.hash('Zo\u00eb liest gern', null);
    assert((await passwords.verify('Zoe\u0308 liest gern', composed)).ok);
    assert(!(await passwords.verify('Zoe liest gern', composed)).ok);
    const long = 'x'.repeat(127);
    const kept = await passwords.hash(`${long}y`, null);
    assert(!(await passwords.verify(`${long}z`, kept)).ok);
  });

  it('of an older cost is verified and made again with the cost of today', async () => {
    const passwords = openTestPasswords();
    const old = await hash('from an earlier release', { memoryCost: 8192, timeCost: 1 });
    assert(isOutdated(old));
    assert.equal((await passwords.verify('a wrong one', old)).upgraded, null);
    const { ok, upgraded } = await passwords.verify('from an earlier release', old);
    assert(ok && upgraded !== null && !isOutdated(upgraded));
    assert((await passwords.verify('from an earlier release', upgraded)).ok);
  });

  it('of nobody is never right and takes as long as a wrong one of somebody', async () => {
    const passwords = openTestPasswords();
    const kept = await passwords.hash('correct horse', null);
    const timed = async (of: string | null) => {
      const since = performance.now();
      assert.deepEqual(await passwords.verify('a wrong one', of), { ok: false, upgraded: null });
      return performance.now() - since;
    };
    await timed(kept);
    const [somebody, nobody] = [[], []] as [number[], number[]];
    for (let count = 0; count < 5; count += 1) {
      somebody.push(await timed(kept));
      nobody.push(await timed(null));
    }
    const [least, other] = [Math.min(...somebody), Math.min(...nobody)];
    assert(other > least / 3 && other < least * 3, `${least} ms for somebody, ${other} ms for nobody`);
  });
});

const place = {
  publicUrl: 'https://control-plane.acme.io:8443',
  words: ['Rocket', 'seal', 'straßenbahn'],
};
const problemOf = (text: string) => passwordProblem(text, ada, place);

describe('the rules of passwords', () => {
  it('take any Unicode of 8 to 128 characters, whatever it is made of', () => {
    for (const good of [
      'correct horse',
      'пароль из слов',
      '密碼是很長的一句話',
      '🦀🐢🐇🦊🐻🐼🐨🐯',
      'x y z '.repeat(20),
    ])
      assert.equal(problemOf(good), null, good);
  });

  it('refuse too few and too many characters, counted as people count them', () => {
    for (const short of ['', 'seven77', '🦀🐢🐇🦊🐻🐼🐨', 'e\u0301'.repeat(7)])
      assert.match(problemOf(short) ?? '', /shorter than 8/);
    assert.match(problemOf('xyz'.repeat(43)) ?? '', /longer than 128/);
  });

  it('refuse NUL and what is no Unicode', () => {
    for (const bad of ['correct\0horse', 'correct \ud800 horse']) assert.match(problemOf(bad) ?? '', /NUL/);
  });

  it('refuse what attackers try first, in any case and width, and the same letter over and over', () => {
    for (const common of ['password', 'PassWord', 'ｐａｓｓｗｏｒｄ', '12345678', 'qwertyuiop', 'iloveyou'])
      assert.match(problemOf(common) ?? '', /attackers try/, common);
    assert.match(problemOf('zzzzzzzzzzzz') ?? '', /repeats/);
    assert.equal(problemOf('password of the crab'), null);
  });

  it('refuse what everybody knows of the owner', () => {
    for (const own of ['my lovelace 1815', 'COUNTESS!!', 'countess@example.org'])
      assert.match(problemOf(own) ?? '', /your name/, own);
    assert.equal(problemOf('canada is cold'), null, 'a name of three letters is in many words');
  });

  it('refuse what is made of words of the product, its address and the company alone', () => {
    for (const word of [
      'sealwright',
      'SealWright2026!',
      'Ｓｅａｌｗｒｉｇｈｔ',
      '123-seal-42acme',
      'acme rocket 7',
      'Rocket.Acme.Sealwright',
      'control-plane 1',
      '!!Straßenbahn!!',
    ])
      assert.match(problemOf(word) ?? '', /words of the product or of your company/, word);
    for (const good of ['my sealwright is old', 'acmeteam 2026', 'rocketry is fun', '2026-10-12 19:30'])
      assert.equal(problemOf(good), null, good);
  });

  it('know the whole list that the package has', () => {
    const listed = listCommonPasswords();
    assert(listed.length > 15_000);
    assert.deepEqual([...commonPasswords()], listed, 'run node tools/known-passwords.ts');
    assert(listed.every((password) => [...password].length >= identityLimits.passwordCharactersMin));
  });
});

type Vector = {
  readonly version: number;
  readonly t: number;
  readonly log2_m_kib: number;
  readonly p: number;
  readonly password: string;
  readonly salt: string;
  readonly hash_hex: string;
  readonly type: string;
};

const file = join(process.env.SEALWRIGHT_VECTORS ?? '', 'argon2/vectors.json');
const reason = existsSync(file) ? false : 'SEALWRIGHT_VECTORS does not name the test vectors';
const memoryLog2Max = 18;

describe('Argon2', { skip: reason }, () => {
  it('gives the known answers of its reference implementation', async () => {
    const vectors = JSON.parse(readFileSync(file, 'utf8')) as readonly Vector[];
    const algorithms: Readonly<Record<string, number>> = { argon2_d: 0, argon2_i: 1, argon2_id: 2 };
    const tried = vectors.filter(({ log2_m_kib }) => log2_m_kib <= memoryLog2Max);
    assert(tried.some(({ type, version }) => type === 'argon2_id' && version === 19));
    for (const vector of tried) {
      const raw = await hashRaw(vector.password, {
        memoryCost: 2 ** vector.log2_m_kib,
        timeCost: vector.t,
        parallelism: vector.p,
        salt: Buffer.from(vector.salt),
        outputLen: vector.hash_hex.length / 2,
        algorithm: algorithms[vector.type]!,
        version: vector.version === 16 ? 0 : 1,
      });
      assert.equal(raw.toString('hex'), vector.hash_hex, JSON.stringify(vector));
    }
  });
});
