import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { controlUid, HomeError, homeAt, prepareHome } from './home.ts';

function opened(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-home-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return { home: homeAt(join(folder, 'home')), log: join(folder, 'disk', 'log') };
}

function isHomeError(what: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof HomeError && what.test(error.message);
}

describe('a log in a folder of its own', () => {
  test('is made there, with a link where everybody looks for it, and found again', (t) => {
    const { home, log } = opened(t);
    for (let start = 0; start < 2; start += 1) prepareHome(home, false, log);
    assert.equal(statSync(log).mode & 0o777, 0o700);
    assert.equal(readlinkSync(home.audit), log);
    mkdirSync(join(log, 'control'));
    assert(existsSync(join(home.audit, 'control')));
  });

  test('takes the place of an empty one, never of one with events', (t) => {
    const { home, log } = opened(t);
    prepareHome(home, false);
    prepareHome(home, false, log);
    assert.equal(readlinkSync(home.audit), log);
    const other = opened(t);
    prepareHome(other.home, false);
    writeFileSync(join(other.home.audit, 'control.jsonl'), 'x');
    const refused = isHomeError(/move what is in it to/);
    assert.throws(() => prepareHome(other.home, false, other.log), refused);
    assert.equal(existsSync(other.log), false);
  });

  test('is not left behind: another one, or none, is not begun', (t) => {
    const { home, log } = opened(t);
    prepareHome(home, false, log);
    assert.throws(() => prepareHome(home, false), isHomeError(/name it in auditFolder/));
    assert.throws(() => prepareHome(home, false, `${log}2`), isHomeError(/or name where it is/));
    prepareHome(home, false, log);
  });

  test('that is no folder, or cannot be made, stops the start with its name', (t) => {
    const { home, log } = opened(t);
    assert.throws(() => prepareHome(home, false, home.audit), isHomeError(/without it/));
    const file = join(home.path, 'file');
    writeFileSync(file, '');
    assert.throws(
      () => prepareHome(home, false, join(file, 'log')),
      isHomeError(/auditFolder: .* cannot be made \(ENOTDIR\)/),
    );
    mkdirSync(join(log, '..'));
    symlinkSync('/tmp', log);
    assert.throws(() => prepareHome(home, false, log), isHomeError(/is not a folder/));
  });

  const notRoot = process.getuid?.() === 0 ? false : 'only root gives folders away';
  test('is control’s where root starts it', { skip: notRoot }, (t) => {
    const { home, log } = opened(t);
    prepareHome(home, true, log);
    assert.equal(statSync(log).uid, controlUid);
  });
});
