import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { escapeBytes, escapeLine, escapeText } from './escape.ts';
import { colourPatch } from './patch-text.ts';

const drives = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u200b-\u200f]/;

describe('what is shown on a terminal cannot drive it', () => {
  it('shows escape sequences, line ends and reordering as text', () => {
    assert.equal(escapeLine('a\x1b[2Jb\r\n\tc\u202ed\x9b'), 'a\\e[2Jb\\r\\n\\tc\\u{202e}d\\x9b');
    assert.equal(escapeText('a\n\tb\x07'), 'a\n\tb\\x07');
  });

  it('holds for any text', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => !drives.test(escapeLine(text))));
  });

  it('holds for names of any bytes, which stay distinct', () => {
    assert.equal(escapeBytes(Buffer.from([0x61, 0xff, 0x0a])), 'a\\xff\\x0a');
    assert.equal(escapeBytes(Buffer.from('gr\u00fcn')), 'gr\u00fcn');
  });

  it('holds for patches, split anywhere, in colour', async () => {
    const bytes = Buffer.from('diff --git a/x b/x\n+\x1b]0;owned\x07 \u00e4\u202e\n-\xff\n');
    let text = '';
    for await (const part of colourPatch(
      [...bytes].map((byte) => Buffer.of(byte)),
      true,
    ))
      text += part;
    const bare = text.replace(/\x1b\[(?:\d+)?m/g, '');
    assert.doesNotMatch(bare.replaceAll('\n', ''), drives);
    assert.match(bare, /\\e\]0;owned\\x07 ä\\u\{202e\}/);
  });
});
