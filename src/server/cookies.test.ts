import assert from 'node:assert/strict';
import test from 'node:test';
import { Fault } from '../contract/faults.ts';
import { sessionCookie, setSessionCookie } from './cookies.ts';

const secure = '__Host-sealwright';

test('the cookie of a sign-in is found among others, as the browser wrote it', () => {
  assert.equal(sessionCookie(`${secure}=swb_1`, true), 'swb_1');
  assert.equal(sessionCookie(`a=1; ${secure}=swb_1; b=2`, true), 'swb_1');
  assert.equal(sessionCookie(`a=1;${secure}=swb_1 ;b=2`, true), 'swb_1');
  assert.equal(sessionCookie('sealwright=swb_2', false), 'swb_2');
  assert.equal(sessionCookie(`${secure}=`, true), '');
  assert.equal(sessionCookie(undefined, true), null);
  assert.equal(sessionCookie('', false), null);
});

test('over TLS the plain name counts for nothing, and on plain loopback the other', () => {
  assert.equal(sessionCookie('sealwright=swb_1', true), null);
  assert.equal(sessionCookie(`${secure}=swb_1`, false), null);
  assert.equal(sessionCookie(`sealwright=planted; ${secure}=swb_1`, true), 'swb_1');
});

test('names that a lenient parser would take for it are other cookies', () => {
  for (const name of [
    '__host-sealwright',
    '__HOST-sealwright',
    '__Host-Sealwright',
    `"${secure}"`,
    `\u00a0${secure}`,
    `\u2000${secure}`,
    `\u0085${secure}`,
    `\v${secure}`,
    `${secure}\u00a0`,
    `${secure} `,
    `${secure}[]`,
    `x${secure}`,
    `$Version=1,${secure}`,
    '__Secure-sealwright',
    `__Host-${secure}`,
  ])
    assert.equal(sessionCookie(`${name}=swb_1`, true), null, JSON.stringify(name));
  assert.equal(sessionCookie(`a="x; ${secure}=swb_1"; b=2`, true), 'swb_1"', 'quotes hide nothing');
  assert.equal(sessionCookie(secure, true), null);
  assert.equal(sessionCookie(`=${secure}=swb_1`, true), null);
});

test('two cookies of the name are refused, whichever is whose', () => {
  for (const header of [
    `${secure}=a; ${secure}=b`,
    `${secure}=a; x=1; ${secure}=a`,
    `${secure}=; ${secure}=a`,
  ])
    assert.throws(
      () => sessionCookie(header, true),
      (error) => error instanceof Fault && error.code === 'request.malformed' && !error.detail.includes('=a'),
    );
});

test('what is handed out is kept from scripts, from other sites and, over TLS, to this host alone', () => {
  const set: string[] = [];
  const reply = { header: (name: string, value: string) => set.push(`${name}: ${value}`) };
  setSessionCookie(reply, 'swb_1', true);
  setSessionCookie(reply, 'swb_1', false);
  setSessionCookie(reply, null, true);
  assert.deepEqual(set, [
    'set-cookie: __Host-sealwright=swb_1; Path=/; HttpOnly; SameSite=Strict; Secure',
    'set-cookie: sealwright=swb_1; Path=/; HttpOnly; SameSite=Strict',
    'set-cookie: __Host-sealwright=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0',
  ]);
});
