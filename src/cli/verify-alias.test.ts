import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

test('scripts/verify-audit-chain is audit verify, from anywhere and through links', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-alias-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of ['scripts', 'bin']) mkdirSync(join(folder, name));
  const script = join(folder, 'scripts', 'verify-audit-chain');
  copyFileSync(join(import.meta.dirname, '../../scripts/verify-audit-chain'), script);
  writeFileSync(join(folder, 'bin', 'sealwright'), '#!/bin/sh\nprintf "%s|" "$@"\nexit 7\n');
  chmodSync(join(folder, 'bin', 'sealwright'), 0o755);
  symlinkSync(script, join(folder, 'link'));
  for (const path of [script, join(folder, 'link')]) {
    const { stdout, status } = spawnSync(path, ['/a folder', '--json'], { encoding: 'utf8', cwd: '/' });
    assert.equal(stdout, 'audit|verify|/a folder|--json|');
    assert.equal(status, 7, 'the status is passed on');
  }
});
