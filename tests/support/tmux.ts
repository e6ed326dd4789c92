import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const shownMs = 30_000;

/** A terminal as people have one, which tells what it shows. */
export type Tmux = {
  /** The lines of its screen, without the blanks at their ends. */
  screen(): string[];
  /** Resolves with the screen once it is as it should be. */
  until(what: string, isSo: (screen: readonly string[]) => boolean | Promise<boolean>): Promise<string[]>;
  /** Keys as tmux(1) names them, such as `Enter` and `C-c`; other words are typed as they are. */
  keys(...keys: readonly string[]): void;
  resize(columns: number, rows: number): void;
  close(): void;
};

/** Runs a command of the shell in a tmux of its own, that reads nobody's configuration. */
export function openTmux(
  command: string,
  options: { readonly environment: Readonly<Record<string, string>> },
): Tmux {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-tmux-'));
  const tmux = (...words: readonly string[]) =>
    execFileSync('tmux', ['-S', join(folder, 'socket'), '-f', '/dev/null', '-u', ...words], {
      env: { ...options.environment, LANG: 'C.UTF-8' },
      encoding: 'utf8',
    });
  tmux(
    'new-session',
    '-d',
    '-x',
    '80',
    '-y',
    '24',
    'sh',
    '-c',
    `${command}; echo "status $?"; exec sleep 600`,
  );
  tmux('set-option', '-g', 'status', 'off');
  tmux('resize-window', '-x', '80', '-y', '24');
  const screen = () =>
    tmux('capture-pane', '-p')
      .replace(/\n$/, '')
      .split('\n')
      .map((line) => line.trimEnd());
  return {
    screen,
    until: async (what, isSo) => {
      for (const end = performance.now() + shownMs; ; await pause(30)) {
        const now = screen();
        if (await isSo(now)) return now;
        assert(performance.now() < end, `${what} is not what is shown:\n${now.join('\n')}`);
      }
    },
    keys: (...keys) => void tmux('send-keys', ...keys),
    resize: (columns, rows) => void tmux('resize-window', '-x', String(columns), '-y', String(rows)),
    close: () => {
      tmux('kill-server');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
