import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { UsageFailure } from './failure.ts';
import { listFormat, renderList } from './table.ts';
import { toYaml } from './yaml.ts';

const columns = [
  { title: 'ID', of: (item: { id: string; n: string }) => item.id },
  { title: 'N', of: (item: { id: string; n: string }) => item.n },
];

describe('lists', () => {
  it('align in columns and escape what could drive the terminal', () => {
    const items = [
      { id: 'a', n: '1' },
      { id: '\x1b[31m', n: 'two\nlines' },
    ];
    assert.equal(renderList(items, columns, 'table'), 'ID      N\na       1\n\\e[31m  two\\nlines\n');
  });

  it('align wide characters', () => {
    assert.equal(renderList([{ id: '漢字', n: '1' }], columns, 'table'), 'ID    N\n漢字  1\n');
  });

  it('are JSON when asked either way, and nothing unknown', () => {
    assert.equal(listFormat({ json: true, output: 'yaml' }), 'json');
    assert.equal(listFormat({}), 'table');
    assert.throws(() => listFormat({ output: 'xml' }), UsageFailure);
    assert.deepEqual(JSON.parse(renderList([{ id: '\x1b', n: '' }], columns, 'json')), [
      { id: '\x1b', n: '' },
    ]);
  });
});

const samples: unknown[] = [
  [],
  {},
  [
    {
      id: 'run_1',
      list: [],
      nested: { a: [1, [2, 3], { b: null }], empty: {} },
      yes: 'yes',
      number: '12',
      date: '2026-01-01',
    },
  ],
  {
    'odd: key': 'a: b',
    '#': '# no comment',
    dash: '- x',
    multi: 'a\nb',
    ctl: '\x1b\x7f\u0085\u2028',
    tilde: '~',
    blank: ' x ',
    empty: '',
  },
];

describe('YAML', () => {
  it('is what it says', () => {
    assert.equal(toYaml([{ a: 'x', b: [1, 'true'] }, []]), '- a: x\n  b:\n    - 1\n    - "true"\n- []\n');
  });

  it('never writes a control character', () => {
    for (const sample of samples)
      assert.doesNotMatch(toYaml(sample).replaceAll('\n', ''), /[\x00-\x1f\x7f-\x9f\u2028]/);
  });

  const python = hasYaml();
  it('is read back by another parser as it was', { skip: python ? false : 'no python3-yaml here' }, () => {
    const code = 'import sys,yaml,json; print(json.dumps(yaml.safe_load(sys.stdin)))';
    for (const sample of samples) {
      const read = execFileSync('python3', ['-c', code], { input: toYaml(sample) }).toString();
      assert.deepEqual(JSON.parse(read), sample);
    }
  });
});

function hasYaml(): boolean {
  try {
    execFileSync('python3', ['-c', 'import yaml'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
