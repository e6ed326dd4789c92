import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

const program = '/usr/bin/chromium';

/** Why no browser can be driven here; false where one can. */
export const withoutChromium: string | false = existsSync(program)
  ? false
  : `there is no ${program} (apt-get install chromium)`;

/** Debian's Chromium without a window. It visits loopback alone, so that its own sandbox is not what protects here. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: program,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-background-networking', '--no-first-run'],
  });
}
