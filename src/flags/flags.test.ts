import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { OpenFeature, ProviderEvents } from '@openfeature/server-sdk';
import { Fault } from '../contract/faults.ts';
import type { FlagSubject } from '../model/flags.ts';
import type { FlagRecord } from '../store/identity-store.ts';
import { FlagRules } from './flag-rules.ts';
import { type Flags, openFlags } from './flags.ts';
import { contextOf, FlagsProvider } from './provider.ts';

const flag = 'sso-tickets';
const ada: FlagSubject = { id: 'user:ada', role: 'developer', teams: new Set(['platform']) };
const root: FlagSubject = { id: 'user:root', role: 'admin' };

let folder: string;
let records: FlagRecord[];
let storeFails: boolean;
let said: (readonly string[])[];
let opened: Flags[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-flags-'));
  [records, storeFails, said, opened] = [[], false, [], []];
});
afterEach(async () => {
  for (const flags of opened) await flags.close();
  rmSync(folder, { recursive: true, force: true });
});

const store = {
  list: async () => {
    if (storeFails) throw new Error('the disk is gone');
    return records;
  },
};

async function open(path?: string, lookEveryMs = 3_600_000): Promise<Flags> {
  const place = path === undefined ? { folder } : { path };
  const flags = await openFlags({ store, place, lookEveryMs, onProblems: (problems) => said.push(problems) });
  opened.push(flags);
  return flags;
}

function file(text: string | Buffer, name = 'flags.yaml'): string {
  const path = join(folder, name);
  // As an editor does it: the old file or the new one, never half of one.
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
  return path;
}

function set(rule: unknown, name: string = flag): void {
  const text = typeof rule === 'string' && rule.startsWith('!') ? rule.slice(1) : JSON.stringify(rule);
  records = [{ name, rule: text, author: 'user:root', changedAt: 1, version: records.length + 1 }];
}

describe('a flag', () => {
  it('that nobody set is off, for administrators too', async () => {
    const flags = await open();
    for (const subject of [ada, root]) assert.equal(await flags.isOn(flag, subject), false);
    assert.deepEqual(flags.of(flag).source, 'default');
    assert.deepEqual(flags.problems(), []);
  });

  it('opens by the file and by the API, in stages', async () => {
    file('sso-tickets:\n  - admins\n  - teams: [platform]\n');
    const flags = await open();
    assert.equal(await flags.isOn(flag, ada), true);
    assert.equal(await flags.isOn(flag, root), true);
    assert.equal(await flags.isOn(flag, { id: 'user:eve', teams: new Set(['other']) }), false);
    rmSync(join(folder, 'flags.yaml'));
    set(['admins']);
    await flags.look();
    assert.equal(await flags.isOn(flag, ada), false);
    assert.equal(await flags.isOn(flag, root), true);
  });

  it('is what the file says, whatever the API says', async () => {
    set('on');
    const flags = await open();
    assert.equal(await flags.isOn(flag, ada), true);
    file('sso-tickets: off');
    await flags.look();
    assert.equal(await flags.isOn(flag, ada), false);
    const { source, rule, set: overruled } = flags.of(flag);
    assert.deepEqual([source, rule, overruled?.rule], ['file', 'off', 'on']);
    set('off');
    file('sso-tickets: on');
    await flags.look();
    assert.equal(await flags.isOn(flag, ada), true);
    file('# says nothing about any flag\n');
    await flags.look();
    assert.equal(await flags.isOn(flag, ada), false);
  });

  it('that is off is a fault which names it, where it is demanded', async () => {
    const flags = await open();
    await assert.rejects(flags.demand(flag, ada), (error: unknown) => {
      assert(error instanceof Fault && error.code === 'feature.off');
      return error.extra.flag === flag;
    });
    set('on');
    await flags.look();
    await flags.demand(flag, ada);
  });

  it('says what made its answer', async () => {
    set(['admins', { teams: ['platform'] }, { percentage: 100 }]);
    const flags = await open();
    const by = async (subject: FlagSubject) => (await flags.explain(flag, subject)).by;
    assert.equal(await by(root), 'admins');
    assert.equal(await by(ada), 'team:platform');
    assert.equal(await by({ id: 'user:eve' }), 'percentage:100');
  });
});

describe('a file that is not understood', () => {
  const broken: [string, string | Buffer, RegExp][] = [
    ['an unknown flag', 'sso-tickets: on\nsso-ticket: on\n', /sso-ticket is not a flag/],
    [
      'an unknown field',
      'sso-tickets:\n  - percentage: 50\n    until: monday\n',
      /sso-tickets\[0\]\.until is not a known field/,
    ],
    ['an unknown word', 'sso-tickets: everybody\n', /sso-tickets is not off, on/],
    ['a boolean', 'sso-tickets: true\n', /sso-tickets is not off, on/],
    ['a flag twice', 'sso-tickets: on\nsso-tickets: on\n', /not YAML.*unique/],
    ['broken YAML', 'sso-tickets: [admins\n', /not YAML/],
    ['two documents', 'sso-tickets: on\n---\nsso-tickets: on\n', /not YAML/],
    ['a list', '- sso-tickets\n', /is not a list of flags/],
    ['bytes that are no text', Buffer.from([0x73, 0xff, 0xfe]), /not UTF-8/],
    ['more than flags can be', `sso-tickets: on\n#${'x'.repeat(64 * 1024)}\n`, /too large/],
    [
      'aliases that grow',
      `a: &a [${'x,'.repeat(50)}]\nb: &b [${'*a,'.repeat(50)}]\nc: [${'*b,'.repeat(50)}]\n`,
      /not YAML|is not a flag/,
    ],
  ];

  for (const [what, text, problem] of broken)
    it(`for ${what} makes every flag off, those of the API too, and says so`, async () => {
      set('on');
      const flags = await open();
      assert.equal(await flags.isOn(flag, ada), true);
      file(text);
      await flags.look();
      assert.equal(await flags.isOn(flag, ada), false);
      assert.equal(await flags.isOn(flag, root), false);
      assert.match(flags.problems().join('\n'), problem);
      assert.deepEqual(said, [flags.problems()]);
      assert.notEqual(flags.of(flag).problem, null);
      assert.equal((await flags.explain(flag, root)).by, 'problem');
      // Mended, it holds again, and that is said too.
      file('sso-tickets: on');
      await flags.look();
      assert.equal(await flags.isOn(flag, ada), true);
      assert.deepEqual(said.at(-1), []);
    });

  it('is said of again where something else is wrong, and once while the same is', async () => {
    const flags = await open();
    file('nonsense: on');
    for (let count = 0; count < 3; count += 1) await flags.look();
    assert.equal(said.length, 1);
    file('other: on');
    await flags.look();
    assert.equal(said.length, 2);
  });

  it('because everybody may write it, or it is no file, is not believed', async () => {
    set('on');
    const flags = await open();
    const path = file('sso-tickets: on');
    const refused = async (problem: RegExp) => {
      await flags.look();
      assert.equal(await flags.isOn(flag, ada), false);
      assert.match(flags.problems().join('\n'), problem);
      rmSync(path, { recursive: true });
    };
    chmodSync(path, 0o666);
    await refused(/everybody/);
    mkdirSync(path);
    await refused(/not a file/);
    execFileSync('mkfifo', [path]);
    await refused(/not a file/);
    symlinkSync('/dev/zero', path);
    await refused(/everybody|not a file/);
    symlinkSync(path, path);
    await refused(/ELOOP/);
    file('sso-tickets: on');
    file('{"sso-tickets": "on"}', 'flags.json');
    await refused(/twice/);
    await flags.look();
    assert.equal(await flags.isOn(flag, ada), true);
  });

  it('because it was asked for and is not there makes every flag off', async () => {
    set('on');
    const path = join(folder, 'elsewhere.yaml');
    const flags = await open(path);
    assert.equal(await flags.isOn(flag, ada), false);
    assert.match(flags.problems().join(), /is not there/);
    file('sso-tickets: on', 'elsewhere.yaml');
    await flags.look();
    assert.equal(await flags.isOn(flag, ada), true);
  });
});

describe('what was set over the API', () => {
  for (const text of ['!', '!{', '!"everybody"', '!["admins",{"until":1}]', '!true'])
    it(`and is not understood (${text.slice(1)}) is off and said`, async () => {
      set(text);
      const flags = await open();
      assert.equal(await flags.isOn(flag, root), false);
      assert.match(flags.problems().join(), /sso-tickets: .* not understood/);
      assert.equal(flags.of(flag).set?.rule, null);
    });

  it('for a flag that no feature has any more stays in the list with its problem', async () => {
    set('on', 'older-flag');
    const flags = await open();
    const left = flags.list().find(({ name }) => name === 'older-flag');
    assert.deepEqual([left?.rule, left?.opens, left?.set?.rule], ['off', null, 'on']);
    assert.match(flags.problems().join(), /older-flag/);
  });

  it('is off while the store cannot be read, but what the file says holds', async () => {
    set('on');
    const flags = await open();
    storeFails = true;
    await flags.look();
    assert.equal(await flags.isOn(flag, ada), false);
    assert.match(flags.problems().join(), /store/);
    file('sso-tickets: on');
    await flags.look();
    assert.equal(await flags.isOn(flag, ada), true);
    storeFails = false;
    rmSync(join(folder, 'flags.yaml'));
    await flags.look();
    assert.equal(await flags.isOn(flag, ada), true);
  });
});

describe('the provider', () => {
  async function client(rule: unknown) {
    set(rule);
    const changes: string[][] = [];
    const rules: FlagRules = new FlagRules({
      ...{ store, place: { folder }, onProblems: () => undefined },
      onChange: (names) => provider.changed(names),
    });
    const provider = new FlagsProvider(rules);
    await OpenFeature.setProviderAndWait('flags-test', provider);
    const asked = OpenFeature.getClient('flags-test');
    asked.addHandler(
      ProviderEvents.ConfigurationChanged,
      (event) => void changes.push(event?.flagsChanged ?? []),
    );
    await rules.look();
    return { asked, changes, rules };
  }

  it('answers with false where nothing can be known, whatever default the asker brought', async () => {
    const { asked } = await client('on');
    assert.equal(await asked.getBooleanValue(flag, false, contextOf(ada)), true);
    assert.equal(await asked.getBooleanValue('no-such-flag', true, contextOf(ada)), false);
    assert.equal(await asked.getBooleanValue(flag, true, {}), false);
    for (const targetingKey of ['', 'ada', 'user:', 'robot:x'])
      assert.equal(await asked.getBooleanValue(flag, true, { targetingKey }), false);
  });

  it('has booleans alone', async () => {
    const { asked } = await client('on');
    assert.equal(await asked.getStringValue(flag, 'none', contextOf(ada)), 'none');
    assert.equal(await asked.getNumberValue(flag, 0, contextOf(ada)), 0);
    assert.deepEqual(await asked.getObjectValue(flag, {}, contextOf(ada)), {});
  });

  it('gives the reasons that OpenFeature names', async () => {
    for (const [rule, reason] of [
      ['on', 'STATIC'],
      ['off', 'DISABLED'],
      [[{ teams: ['platform'] }], 'TARGETING_MATCH'],
      [[{ percentage: 100 }], 'SPLIT'],
      [['admins'], 'DEFAULT'],
      ['nonsense', 'ERROR'],
    ] as const) {
      const { asked } = await client(rule);
      const details = await asked.getBooleanDetails(flag, true, contextOf(ada));
      assert.deepEqual([details.reason, details.flagMetadata.source], [reason, 'api']);
    }
  });

  it('tells who listens of every change, and of nothing else', async () => {
    const { changes, rules } = await client('on');
    assert.deepEqual(changes, [[flag]]);
    await rules.look();
    assert.equal(changes.length, 1);
    set('off');
    await rules.look();
    assert.deepEqual(changes, [[flag], [flag]]);
  });

  it('believes nothing of a context but its form', async () => {
    const { asked } = await client(['admins', { teams: ['platform'] }]);
    for (const more of [{ role: ['admin'] }, { teams: 'platform' }, { teams: [{ platform: true }] }])
      assert.equal(await asked.getBooleanValue(flag, true, { targetingKey: 'user:eve', ...more }), false);
  });
});

it('a changed file is seen by itself', async () => {
  const flags = await open(undefined, 5);
  file('sso-tickets: on');
  for (const until = AbortSignal.timeout(5_000); !(await flags.isOn(flag, ada)); )
    await new Promise((resolve, reject) => {
      setTimeout(resolve, 5);
      if (until.aborted) reject(until.reason);
    });
});
