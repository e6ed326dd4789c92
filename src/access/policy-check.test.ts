import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessLimits } from './limits.ts';
import { PolicyCheck } from './policy-check.ts';
import { shapeOf } from './text-shape.ts';

const check = new PolicyCheck();

function problemsOf(text: string) {
  const checked = check.check(text);
  return 'problems' in checked ? checked.problems : [];
}

function assertWorks(): void {
  assert.deepEqual(problemsOf('permit (principal, action, resource);'), [], 'the check still works');
}

const refused: Readonly<
  Record<string, readonly [text: string, line: number, column: number, message: RegExp]>
> = {
  'an act that is none': [
    '// ä ö\npermit (principal, action == Action::"run.stopp", resource);',
    2,
    30,
    /unrecognized action .*did you mean `Action::"run.stop"`/,
  ],
  'an attribute that is none': [
    'permit (principal, action, resource)\nwhen { "ä" == "ö" || principal.roles == "admin" };',
    2,
    22,
    /attribute `roles` .*did you mean `role`/,
  ],
  'an optional attribute that was not asked for': [
    'forbid (principal, action, resource) when { resource.owner == principal.id };',
    1,
    45,
    /optional attribute `owner`.*has owner/,
  ],
  'a value of another type': [
    'forbid (principal, action, resource) when { principal.mfa == "yes" };',
    1,
    45,
    /compatible|expected/i,
  ],
  'a kind of resource that is none': [
    'forbid (principal, action, resource is Rnu);',
    1,
    40,
    /unrecognized entity type|did you mean/,
  ],
  'an address that is none': [
    'forbid (principal, action, resource) when { context has address && context.address.isInRange(ip("10.0.0.0/99")) };',
    1,
    94,
    /failed to parse as IP address/,
  ],
  'a policy that can never apply': [
    'forbid (principal, action == Action::"run.stop", resource is Session);',
    1,
    1,
    /applicable action|impossible/,
  ],
  'a policy that breaks off': ['permit (principal, action, resource)', 1, 37, /end of input.*expected/],
  'words that are none': ['allow everything', 1, 7, /./],
  'a template': ['permit (principal == ?principal, action, resource);', 1, 22, /Templates are not taken/],
  'a slot in a condition': [
    'permit (principal, action, resource) when { principal == ?principal };',
    1,
    58,
    /template|slot/,
  ],
  nothing: ['// only a comment\n', 1, 1, /holds no policy/],
  'control characters': ['permit (principal, action, resource);\u0000', 1, 1, /not text/],
  'text that is shown in another order': [
    '// \u202e\npermit (principal, action, resource);',
    1,
    1,
    /not text/,
  ],
  'half a character': ['permit (principal, action, resource); // \ud800', 1, 1, /not text/],
};

for (const [name, [text, line, column, message]] of Object.entries(refused))
  test(`refused with its place: ${name}`, () => {
    const [first, ...rest] = problemsOf(text);
    assert(first !== undefined, 'it was taken');
    assert.match(first.message, message);
    assert.deepEqual([first.line, first.column], [line, column], first.message);
    assert(rest.length < accessLimits.problemsMax);
    assertWorks();
  });

test('what people write is taken: several policies, groups of acts, ranges, teams and wildcards', () => {
  const text = `
    // contractors work from the office, and on their own things
    @id("office")
    forbid (principal, action, resource)
    when { principal.teams.contains("contractors") }
    unless { context.local }
    unless { context has address && (context.address.isInRange(ip("10.0.0.0/8")) || context.address.isLoopback()) };

    permit (principal == Actor::"service:ci", action in [Action::"run:read", Action::"session.read"], resource)
    when { resource has owner && resource.owner like "agent:*" };`;
  const checked = check.check(text);
  assert('policies' in checked, JSON.stringify(checked));
  const [office, ci] = checked.policies;
  assert.deepEqual(
    [office?.label, office?.effect, ci?.label, ci?.effect],
    ['office', 'forbid', null, 'permit'],
  );
  assert(office?.actions.has('policy.put') && office.actions.has('account.read'));
  assert(ci?.actions.has('run.logs') && ci.actions.has('session.read') && !ci.actions.has('session.list'));
});

/** Shapes of which the evaluator's own stack overflows when they are large. */
const deep: Readonly<Record<string, (n: number) => string>> = {
  parentheses: (n) => `${'('.repeat(n)}true${')'.repeat(n)}`,
  sets: (n) => `${'['.repeat(n)}1${']'.repeat(n)} == 1`,
  records: (n) => `${'{a: '.repeat(n)}1${'}'.repeat(n)} == 1`,
  calls: (n) => `principal.teams${'.contains(principal.teams'.repeat(n)}${')'.repeat(n)}`,
  dots: (n) => `principal${'.id'.repeat(n)} == ""`,
  sums: (n) => `1${' + 1'.repeat(n)} > 0`,
  products: (n) => `1${' * 1'.repeat(n)} > 0`,
  negations: (n) => `${'!('.repeat(n)}true${')'.repeat(n)}`,
  conjunctions: (n) => `true${' && true'.repeat(n)}`,
  alternatives: (n) => `false${' || false'.repeat(n)}`,
  choices: (n) => `${'if true then true else '.repeat(n)}true`,
  nested: (n) => `${'(true && '.repeat(n)}true${')'.repeat(n)}`,
  'nested sums': (n) => `${'(1 + 1 + '.repeat(n)}1${')'.repeat(n)} > 0`,
  'nested choices': (n) => `${'if (true && '.repeat(n)}true${') then true else true'.repeat(n)}`,
  strings: (n) => `principal.id like "${'*a'.repeat(n)}"`,
};

for (const [name, shape] of Object.entries(deep))
  test(`text that is too deep is refused, and the check lives on: ${name}`, () => {
    const fits: number[] = [];
    for (const size of [1, 4, 12, 20, 31, 50, 63, 100, 200, 299, 600, 2_000, 8_000]) {
      const text = `permit (principal, action, resource) when { ${shape(size)} };`;
      const { depth, branches } = shapeOf(text);
      const isIn = depth <= accessLimits.depthMax && branches <= accessLimits.branchesMax;
      for (const { message } of problemsOf(text))
        assert(!isIn || !/too complex/.test(message), `${size} is within the bounds and overflows`);
      if (isIn) fits.push(size);
      assertWorks();
    }
    assert(fits.length >= 3, `sizes that fit: ${fits}`);
  });

test('a text over the bounds is refused before it is parsed', () => {
  const { textBytesMax, policiesPerDocumentMax } = accessLimits;
  assert.match(problemsOf(`//${' '.repeat(textBytesMax)}`)[0]!.message, /longer than 32768 bytes/);
  const one = 'permit (principal, action, resource);';
  assert.match(problemsOf(one.repeat(policiesPerDocumentMax + 1))[0]!.message, /more than 50 policies/);
  assert.deepEqual(problemsOf(one.repeat(policiesPerDocumentMax)), []);
});

test('brackets in strings and comments are not nesting', () => {
  const text = `// ${'('.repeat(500)}\npermit (principal, action, resource) when { principal.id == "${'('.repeat(500)}\\"((" };`;
  assert(shapeOf(text).depth < 20);
  assert.deepEqual(problemsOf(text), []);
});
