import type { CreateRun } from '../contract/schemas.ts';
import type { Environment } from './environment.ts';
import { UsageFailure } from './failure.ts';
import { parseBytes, parseDuration, parseNumber, parseWhole } from './quantities.ts';

export type RunFlags = {
  repo?: string;
  dirty?: boolean;
  ref?: string;
  session?: string;
  env?: string[];
  cwd?: string;
  cpus?: string;
  memory?: string;
  pids?: string;
  disk?: string;
  timeout?: string;
  priority?: string;
  name?: string;
  json?: boolean;
  diff: boolean;
  detach?: boolean;
  strict?: boolean;
  egress?: string[];
  reason?: string;
  verbose?: boolean;
  tty?: boolean;
  detachKeys?: string;
};

export type RunRequest = Omit<CreateRun, 'session'>;

/** What the flags ask for. Throws UsageFailure for what cannot be read; bounds are the server's to check. */
export function runRequest(
  command: readonly string[],
  flags: RunFlags,
  variables: Environment['variables'],
): RunRequest {
  if (command.length === 0) {
    throw new UsageFailure('There is no command.', 'Name it after --: sealwright run --repo . -- make test');
  }
  const limits = limitsOf(flags);
  const env = environmentOf(flags.env ?? [], variables);
  return {
    command: [...command],
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(Object.keys(env).length === 0 ? {} : { env }),
    ...(flags.cwd === undefined ? {} : { cwd: flags.cwd }),
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
    ...(flags.timeout === undefined ? {} : { timeoutSeconds: parseDuration(flags.timeout, '--timeout') }),
    ...(flags.priority === undefined ? {} : { priority: parseWhole(flags.priority, '--priority') }),
    ...(flags.strict === true ? { strict: true } : {}),
    ...egressRequest(flags),
    ...(flags.diff ? {} : { diff: false }),
  };
}

/** What `--egress` and `--reason` ask for; `none` alone is nothing, whatever the session says. Throws UsageFailure. */
export function egressRequest({
  egress,
  reason,
}: Pick<RunFlags, 'egress' | 'reason'>): Pick<CreateRun, 'egress' | 'egressReason'> {
  const none = egress?.includes('none') ?? false;
  if (none && egress?.length !== 1) throw new UsageFailure('--egress none does not go with another --egress');
  return {
    ...(egress === undefined ? {} : { egress: none ? [] : egress }),
    ...(reason === undefined ? {} : { egressReason: reason }),
  };
}

function limitsOf(flags: RunFlags): NonNullable<CreateRun['limits']> {
  return {
    ...(flags.cpus === undefined ? {} : { cpus: parseNumber(flags.cpus, '--cpus') }),
    ...(flags.memory === undefined ? {} : { memoryBytes: parseBytes(flags.memory, '--memory') }),
    ...(flags.pids === undefined ? {} : { pids: parseWhole(flags.pids, '--pids') }),
    ...(flags.disk === undefined ? {} : { diskBytes: parseBytes(flags.disk, '--disk') }),
  };
}

/** `K=V` sets, `K` hands over the caller's own value and is left out where there is none. The last one wins. */
export function environmentOf(
  entries: readonly string[],
  variables: Environment['variables'],
): Record<string, string> {
  const env = new Map<string, string>();
  for (const entry of entries) {
    const sign = entry.indexOf('=');
    const name = sign < 0 ? entry : entry.slice(0, sign);
    if (name === '') throw new UsageFailure(`--env takes NAME=VALUE or NAME, not "${entry}"`);
    const value = sign < 0 ? variables[name] : entry.slice(sign + 1);
    if (value !== undefined) env.set(name, value);
  }
  return Object.fromEntries(env);
}
