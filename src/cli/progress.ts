import type { Environment } from './environment.ts';
import { escapeLine } from './escape.ts';

/** What goes on, on standard error: one line that is written over on a terminal, a line each with `-v`, else nothing. */
export type Progress = {
  show(text: string): Promise<void>;
  /** Takes the line away before something else is written. */
  clear(): Promise<void>;
};

export function createProgress(environment: Environment, verbose: boolean): Progress {
  const { stderr } = environment;
  if (verbose) {
    let last = '';
    return {
      async show(text) {
        if (text !== last) await stderr.write(`sealwright: ${escapeLine(text)}\n`);
        last = text;
      },
      async clear() {},
    };
  }
  if (!stderr.isTerminal) return { async show() {}, async clear() {} };
  let shown = false;
  return {
    async show(text) {
      shown = true;
      await stderr.write(`\r\x1b[2K${escapeLine(text).slice(0, Math.max(10, stderr.columns - 1))}`);
    },
    async clear() {
      if (!shown) return;
      shown = false;
      await stderr.write('\r\x1b[2K');
    },
  };
}

const steps: Record<string, string> = {
  workspace: 'preparing the workspace',
  sandbox: 'making the sandbox',
  command: 'starting the command',
  collect: 'collecting what it changed',
};

export function stepText(step: string): string {
  return `${steps[step] ?? step} …`;
}
