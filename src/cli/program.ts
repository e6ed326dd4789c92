import { Command, CommanderError } from 'commander';
import { ApiError } from '../client/api-error.ts';
import { OAuthRefusal } from '../client/oauth.ts';
import { defineAccess } from './access.ts';
import { defineAgents } from './agents.ts';
import { defineApply } from './apply.ts';
import { defineAttach } from './attach.ts';
import { defineAudit } from './audit.ts';
import { defineCompletion } from './completion.ts';
import type { Context } from './context.ts';
import { defineCp } from './cp.ts';
import { defineDiff } from './diff.ts';
import { defineEgress } from './egress.ts';
import type { Environment } from './environment.ts';
import { OutputClosed } from './environment.ts';
import { escapeLine, escapeText } from './escape.ts';
import { defineExec } from './exec.ts';
import { CliFailure, exitStatus, UsageFailure } from './failure.ts';
import { defineFlags } from './flags.ts';
import { defineKeys } from './keys.ts';
import { defineLogin } from './login.ts';
import { defineLogs } from './logs.ts';
import { definePolicy } from './policy.ts';
import { definePortForward } from './port-forward.ts';
import { defineReplay } from './replay.ts';
import { defineResume } from './resume.ts';
import { defineRoles } from './roles.ts';
import { defineRun } from './run.ts';
import { defineRuns } from './runs.ts';
import { defineSessions } from './sessions.ts';
import { defineSsh } from './ssh/ssh.ts';
import { defineSshConfig } from './ssh/ssh-config.ts';
import { defineSshProxy } from './ssh/ssh-proxy.ts';
import { defineStatus } from './status.ts';
import { defineStop } from './stop.ts';
import { defineTeams } from './teams.ts';
import { defineTokens } from './tokens.ts';
import { defineUsers } from './users.ts';
import { defineWhoami } from './whoami.ts';

/** Programs of their own that the command line hands over to before it reads another word. */
export const handedOver = ['up', 'doctor'] as const;

export type ProgramFlags = { url?: string; verbose?: boolean };

/** The whole command line. `onFlags` gets the program's own flags before a command acts. */
export function buildProgram(context: Context, onFlags: (flags: ProgramFlags) => void): Command {
  const program = new Command('sealwright')
    .description('Runs untrusted programs and agents in sealed sandboxes.')
    .version(context.version, '--version', 'print the version')
    .option('--url <url>', 'the server (default: SEALWRIGHT_URL, then your profile)')
    .option('-v, --verbose', 'say each step on standard error')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .hook('preAction', () => onFlags(program.opts<ProgramFlags>()));
  defineRun(program, context);
  defineRuns(program, context);
  defineLogs(program, context);
  defineAttach(program, context);
  defineExec(program, context);
  defineSsh(program, context);
  defineSshConfig(program, context);
  defineSshProxy(program, context);
  defineReplay(program, context);
  defineCp(program, context);
  definePortForward(program, context);
  defineDiff(program, context);
  defineApply(program, context);
  defineStop(program, context);
  defineResume(program, context);
  defineSessions(program, context);
  definePolicy(program, context);
  defineEgress(program, context);
  defineLogin(program, context);
  defineWhoami(program, context);
  defineUsers(program, context);
  defineTokens(program, context);
  defineRoles(program, context);
  defineTeams(program, context);
  defineAccess(program, context);
  defineFlags(program, context);
  defineKeys(program, context);
  defineAgents(program, context);
  defineAudit(program, context);
  defineStatus(program, context);
  const [up, doctor] = handedOver;
  program
    .command(up)
    .description('start Sealwright on this machine')
    .allowUnknownOption()
    .argument('[args...]');
  program
    .command(doctor)
    .description('check this machine and say how to fix it')
    .allowUnknownOption()
    .argument('[args...]');
  defineCompletion(program, context);
  return program;
}

/**
 * Runs one command line and gives the status to exit with. Nothing is thrown for what a person can act on: it is
 * said on standard error. When the reader of the output is gone, it ends without a word.
 */
export async function runProgram(
  program: Command,
  words: readonly string[],
  context: Context,
): Promise<number> {
  const written: Promise<void>[] = [];
  const { environment } = context;
  program.configureOutput(outputs(environment, written));
  for (const command of [program, ...descendants(program)]) {
    command.configureOutput(program.configureOutput()).exitOverride();
  }
  const isRun = takesOver(words);
  try {
    await program.parseAsync([...words], { from: 'user' });
    await Promise.all(written);
    return context.status;
  } catch (error) {
    return await failed(error, written, environment, isRun);
  }
}

/** Whether the statuses below 125 belong to the program that the command runs. */
function takesOver(words: readonly string[]): boolean {
  const command = words.find((word, index) => !word.startsWith('-') && words[index - 1] !== '--url');
  return command === 'run' || command === 'resume' || command === 'exec';
}

function descendants(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...descendants(child)]);
}

/** Commander writes without waiting; the writes are kept in order and awaited at the end. */
function outputs(environment: Environment, written: Promise<void>[]) {
  let last = Promise.resolve();
  const write = (output: Environment['stdout'], text: string) => {
    last = last.then(() => output.write(escapeText(text)));
    last.catch(() => {});
    written.push(last);
  };
  return {
    writeOut: (text: string) => write(environment.stdout, text),
    writeErr: (text: string) => write(environment.stderr, text),
    outputError: (text: string, put: (text: string) => void) => put(text.replace(/^error: /, 'sealwright: ')),
    getOutHelpWidth: () => environment.stdout.columns,
    getErrHelpWidth: () => environment.stderr.columns,
    getOutHasColors: () => false,
    getErrHasColors: () => false,
  };
}

async function failed(
  error: unknown,
  written: readonly Promise<void>[],
  environment: Environment,
  isRun: boolean,
): Promise<number> {
  try {
    await Promise.all(written);
    if (error instanceof OutputClosed) return exitStatus.brokenPipe;
    const usage = isRun ? exitStatus.ownFailure : exitStatus.usage;
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitStatus.ok : usage;
    const lines = messageOf(error);
    await environment.stderr.write(
      lines.map((line, index) => `${index === 0 ? 'sealwright: ' : '  '}${escapeLine(line)}\n`).join(''),
    );
    if (error instanceof UsageFailure) return usage;
    if (error instanceof CliFailure && error.status !== null) return error.status;
    return isRun ? exitStatus.ownFailure : exitStatus.failure;
  } catch (gone) {
    if (gone instanceof OutputClosed) return exitStatus.brokenPipe;
    throw gone;
  }
}

function messageOf(error: unknown): string[] {
  if (error instanceof ApiError) return apiMessage(error);
  if (error instanceof OAuthRefusal) return [error.message];
  if (error instanceof CliFailure) return error.hint === null ? [error.message] : [error.message, error.hint];
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return ['This is a bug in Sealwright, please report it.', ...message.split('\n')];
}

/** The server's own words, the fields it names, and what a person can do. */
function apiMessage(error: ApiError): string[] {
  const lines = [error.detail];
  const untold = error.errors.filter(({ message }) => !error.detail.includes(message));
  for (const { path, message } of untold.slice(0, 8)) lines.push(`${path}: ${message}`);
  if (error.code === 'auth.step-up') lines.push("Run 'sealwright login' again, then repeat this.");
  else if (error.status === 401) {
    lines.push(
      "Run 'sealwright login', set SEALWRIGHT_TOKEN, or run 'sealwright tokens create' on the server's machine.",
    );
  } else if (error.code === 'access.denied' && typeof error.problem.required === 'string') {
    lines.push(
      "An administrator can give you a role that has it, or you take one for a time: 'sealwright access elevate ROLE --reason TEXT'.",
    );
  }
  if (error.retryAfterSeconds !== null) lines.push(`Try again in ${error.retryAfterSeconds} s.`);
  if (error.status >= 500 && error.requestId !== null) lines.push(`request ${error.requestId}`);
  return lines;
}
