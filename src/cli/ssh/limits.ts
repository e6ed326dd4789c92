import assert from 'node:assert/strict';
import { apiLimits } from '../../contract/limits.ts';

/** What one SSH connection may take. Its client is a program of the same person, on the same machine. */
export const sshLimits = {
  /** From the first byte until the client has shown its key. Nobody has to type for that. */
  loginGraceMs: 60_000,
  loginAttemptsMax: 8,
  /** Sessions and forwarded connections at once; each may wait with as much as its window, 2 MiB, each way. */
  channelsMax: 48,
  environmentMax: 100,
  environmentBytesMax: 32 * 1024,
  /** Runs that `ssh-config --all` lists. */
  hostsMax: 200,
  keyBytesMax: 16 * 1024,
  knownHostsBytesMax: 64 * 1024,
} as const;

assert(sshLimits.environmentMax <= apiLimits.environmentMax);
