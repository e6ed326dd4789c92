import { readFile } from 'node:fs/promises';
import type { Environment } from './environment.ts';
import { CliFailure } from './failure.ts';

/** The certificates in the file of SEALWRIGHT_CA_FILE, which a server's may be issued by besides those that Node knows. */
export async function readAuthorities({ variables }: Environment): Promise<string | undefined> {
  const path = variables.SEALWRIGHT_CA_FILE;
  if (path === undefined || path === '') return undefined;
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new CliFailure(`SEALWRIGHT_CA_FILE: ${path} cannot be read (${error.code}).`, { cause: error });
  });
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
  throw new CliFailure(`SEALWRIGHT_CA_FILE: ${path} holds no certificate in PEM.`);
}
