import { anyNetwork } from '../src/access/client-networks.ts';
import { type AccessDocument, type AccessEngine, openAccessEngine } from '../src/access/engine.ts';
import { actionNames } from '../src/access/schema.ts';
import type { Actor } from '../src/model/actor.ts';
import { decideByRole, type Resource } from '../src/model/decide.ts';
import { roles, type Scope } from '../src/model/scopes.ts';
import type { Row } from './row.ts';

/**
 * How long a decision takes: from memory, and not from memory with 200 policies of administrators, beside the rule of
 * roles as a plain function. The policies are about acts here and there, as people write them, or all about the act
 * that is asked for, which is the most that they can cost.
 */
const policies = 200;
const rounds = 20_000;
const uncachedRounds = 3_000;

const ada: Actor = {
  id: 'user:ada',
  role: 'developer',
  scopes: new Set<Scope>(roles.developer),
  reach: 'team',
  teams: new Set(['red', 'blue']),
  signIn: { at: 0, mfa: true },
};
const own: Resource = { kind: 'run', id: 'run_1', session: 'ses_1', owner: 'user:ada', team: 'red' };
const address = '10.1.2.3';

type Times = { readonly p50: number; readonly p99: number };

/** Microseconds, each call by itself. */
function measure(count: number, call: (round: number) => unknown): Times {
  for (let round = 0; round < count / 10; round += 1) call(round);
  const times: number[] = [];
  for (let round = 0; round < count; round += 1) {
    const startedAt = process.hrtime.bigint();
    call(round);
    times.push(Number(process.hrtime.bigint() - startedAt) / 1000);
  }
  times.sort((a, b) => a - b);
  return { p50: times[Math.floor(count / 2)]!, p99: times[Math.floor(count * 0.99)]! };
}

function documents(head: (index: number) => string): AccessDocument[] {
  return Array.from({ length: policies }, (_, index) => ({
    name: `p${index}`,
    text: `permit (principal, action ${head(index)}, resource)
      when { principal.teams.contains("t${index}") && resource has team && resource.team == "t${index}" };`,
  }));
}

function engineWith(policySet: readonly AccessDocument[]): AccessEngine {
  const engine = openAccessEngine({ networks: anyNetwork });
  const problems = engine.replace(policySet);
  if (problems.length > 0) throw new Error(JSON.stringify(problems[0]));
  return engine;
}

export async function benchAccess(): Promise<Row[]> {
  const byRole = measure(rounds, () => decideByRole(ada, 'run.stop', own));
  const spread = engineWith(documents((index) => `== Action::"${actionNames[index % actionNames.length]}"`));
  const same = engineWith(documents(() => 'in Action::"run:write"'));
  const cached = measure(rounds, () => spread.decide(ada, 'run.stop', own, { address }));
  // A resource of another id each time is in no memory.
  const uncached = (engine: AccessEngine) =>
    measure(uncachedRounds, (round) =>
      engine.decide(ada, 'run.stop', { ...own, id: `run_${round}_${Math.random()}` }, { address }),
    );
  const shipped = engineWith([]);
  const alone = measure(uncachedRounds, () => shipped.explain(ada, 'run.stop', own, { address }));
  const rows: readonly (readonly [string, Times, string])[] = [
    [`from memory, ${policies} policies`, cached, 'aim: p99 below 20 µs'],
    ['not from memory, what ships alone', alone, 'aim: below 500 µs'],
    [`not from memory, ${policies} policies about all acts`, uncached(spread), 'aim: below 500 µs'],
    [`not from memory, ${policies} policies about this act`, uncached(same), 'the most they can cost'],
  ];
  return rows.map(([what, { p50, p99 }, note]) => ({
    what: `decision, ${what}`,
    figure: `p50 ${p50.toFixed(1)} µs, p99 ${p99.toFixed(1)} µs`,
    peer: `the rule of roles as a function: p50 ${byRole.p50.toFixed(2)} µs`,
    ratio: p50 / byRole.p50,
    note,
  }));
}

if (import.meta.main) console.table(await benchAccess());
