import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UsageFailure } from './failure.ts';
import { parseBytes, parseDuration, parseNumber, parseWhole, showBytes, showSeconds } from './quantities.ts';

describe('quantities', () => {
  it('reads durations', () => {
    const cases: Record<string, number> = {
      '90': 90,
      '90s': 90,
      '10m': 600,
      '1h30m': 5400,
      '30d': 2_592_000,
      '2W': 1_209_600,
      '1.5h': 5400,
      '0': 0,
    };
    for (const [text, seconds] of Object.entries(cases))
      assert.equal(parseDuration(text, '--timeout'), seconds, text);
  });

  it('reads sizes as powers of 1024', () => {
    const cases: Record<string, number> = {
      '512': 512,
      '512m': 512 * 2 ** 20,
      '1g': 2 ** 30,
      '1.5G': 1.5 * 2 ** 30,
      '20MB': 20 * 2 ** 20,
      '2KiB': 2048,
      '1P': 2 ** 50,
    };
    for (const [text, bytes] of Object.entries(cases))
      assert.equal(parseBytes(text, '--memory'), bytes, text);
  });

  it('refuses everything else and names the option', () => {
    for (const text of [
      '',
      'ten',
      '-1',
      '1x',
      '10 m',
      '1e9',
      'NaN',
      'Infinity',
      '0x10',
      '9'.repeat(40),
      '١',
    ]) {
      assert.throws(() => parseDuration(text, '--timeout'), UsageFailure, text);
      assert.throws(() => parseBytes(text, '--memory'), /--memory/, text);
      if (text !== '-1') assert.throws(() => parseWhole(text, '--pids'), /--pids/, text);
      assert.throws(() => parseNumber(text, '--cpus'), /--cpus/, text);
    }
  });

  it('shows them for people', () => {
    assert.equal(showBytes(1536), '1.5 KiB');
    assert.equal(showBytes(12), '12 B');
    assert.equal(showSeconds(192), '3m12s');
    assert.equal(showSeconds(3600), '1h');
    assert.equal(showSeconds(-5), '0s');
  });
});
