import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** What docs/reference/audit-verify.py says of one stream. */
export type PythonVerdict = {
  readonly path: string;
  readonly status: 'intact' | 'tampered' | 'unreadable';
  readonly what?: string;
  readonly seq?: number | null;
};

export type PythonResult = {
  /** 0 intact, 1 tampered, 2 unreadable. */
  readonly code: number;
  readonly streams: readonly PythonVerdict[];
};

const folder = join(import.meta.dirname, '../../docs/reference');

/** The reason to skip a test with, where there is no Python; false where there is. */
export const withoutPython: string | false =
  spawnSync('python3', ['--version']).status === 0 ? false : 'there is no python3';

/** Runs the second verifier, which shares nothing with ours but the description of the format. */
export function verifyWithPython(args: readonly string[]): PythonResult {
  return run('audit-verify.py', args);
}

/** The same for bundles of evidence. */
export function verifyEvidenceWithPython(args: readonly string[]): PythonResult {
  return run('audit-verify-evidence.py', args);
}

/** Without what Python would keep of a file that another one imports. */
function run(script: string, args: readonly string[]): PythonResult {
  const { status, stdout, stderr } = spawnSync('python3', ['-B', join(folder, script), ...args], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status === null || stderr.includes('Traceback')) throw new Error(`the verifier failed: ${stderr}`);
  const lines = stdout.split('\n').filter((line) => line !== '');
  return { code: status, streams: lines.map((line) => JSON.parse(line) as PythonVerdict) };
}
