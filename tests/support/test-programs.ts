import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Where `tools/fetch-test-programs` puts what setup does not install. */
export function testProgram(path: string): string {
  return join(import.meta.dirname, '../../.cache/test-programs', path);
}

/** Why a test cannot be tried without it. */
export function notFetched(file: string): string | false {
  return existsSync(file) ? false : 'needs tools/fetch-test-programs';
}
