import type { Command } from 'commander';
import { ApiError } from '../client/api-error.ts';
import { type Context, print } from './context.ts';
import { listFormat, renderObject } from './table.ts';

type Flags = { output?: string; json?: boolean };

export function defineStatus(program: Command, context: Context): void {
  program
    .command('status')
    .summary('say which server is used and whether it is ready')
    .description(
      'Says which server is used, whether it is ready, and whether it accepts your token. Ends with 0 when all is well.',
    )
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .action(async (flags: Flags) => await status(context, flags));
}

async function status(context: Context, flags: Flags): Promise<void> {
  const format = listFormat(flags);
  const api = await context.connect();
  const target = await context.describeTarget();
  const { version } = await api.health();
  const { ready, checks } = await api.readiness();
  const token = target.token ? await tokenState(() => api.runs.list({ limit: 1 })) : 'none';
  const bad = Object.entries(checks).filter(([, check]) => !check.ok);
  const shown = {
    server: target.url,
    profile: target.profile,
    version,
    client: context.version,
    ready,
    ...(bad.length === 0
      ? {}
      : { failing: bad.map(([name, { detail }]) => `${name}: ${detail ?? 'not ok'}`).join('; ') }),
    token,
  };
  await print(context.environment, renderObject(shown, format));
  context.status = ready && token !== 'refused' && token !== 'none' ? 0 : 1;
}

async function tokenState(
  read: () => Promise<unknown>,
): Promise<'accepted' | 'refused' | 'accepted, without run:read'> {
  try {
    await read();
    return 'accepted';
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) return 'refused';
    if (error.status === 403) return 'accepted, without run:read';
    throw error;
  }
}
