import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { attach } from '../support/attached.ts';
import { type Instance, launcher, startInstance, testEnvironment } from '../support/instance.ts';
import { openTmux, type Tmux } from '../support/tmux.ts';

/**
 * Programs that draw on the whole screen, in `sealwright run --tty` inside tmux, which tells what its user sees, and through
 * a viewer's headless terminal that comes late. Both must show what the program drew.
 */

type Program = {
  readonly program: string;
  readonly script: string;
  /** What it shows once it stands. */
  readonly begins: RegExp;
  /** Keys, and what is shown then. */
  readonly steps: readonly { readonly keys: readonly string[]; readonly shows: RegExp }[];
  /** After which it ends with status 0. */
  readonly leave: readonly string[];
};

/** Alternate screen, a scroll region, colours, characters of two columns, lines, and what it reads is drawn. */
const drawn = `printf '\\033[?1049h\\033[2J\\033[1;1H\\033[44;97m 日本語 wide \\033[0m\\033[3;1H┌───┐'
printf '\\033[5;10r\\033[5;1H'; for i in 1 2 3 4 5 6 7 8 9; do printf '\\r\\nscrolled %s' $i; done
printf '\\033[r\\033[12;40H\\033[1;31mred\\033[0m\\033[13;1H> '; read -r line; printf '\\033[14;5H[%s]' "$line"
read -r line; printf '\\033[?1049l'`;

const programs: readonly Program[] = [
  {
    program: 'vim',
    script: 'seq 1 200 > numbers; exec vim -u NONE -N numbers',
    begins: /^1\n2\n3\n[\s\S]*"numbers".* 200L/,
    steps: [
      { keys: ['G'], shows: /^178\n[\s\S]*\n200\n/ },
      { keys: ['ohéllo wörld', 'Escape'], shows: /\n200\nhéllo wörld\n/ },
      { keys: [':set number', 'Enter'], shows: /\n200 200\n201 héllo wörld\n/ },
    ],
    leave: [':q!', 'Enter'],
  },
  {
    program: 'less',
    script: 'seq 1 500 | LESS= less',
    begins: /^1\n2\n[\s\S]*\n:$/,
    steps: [
      { keys: ['G'], shows: /\n499\n500\n\(END\)$/ },
      { keys: ['g'], shows: /^1\n2\n/ },
      { keys: ['/^250', 'Enter'], shows: /^250\n251\n/ },
    ],
    leave: ['q'],
  },
  {
    program: 'top',
    script: 'exec top -d 3600',
    begins: /^top - [\s\S]*PID USER[\s\S]* top$/m,
    steps: [{ keys: ['h'], shows: /^Help for Interactive Commands/ }],
    leave: ['q', 'q'],
  },
  {
    program: 'htop',
    script: 'exec htop -d 100',
    begins: /PID USER[\s\S]*F1Help/,
    steps: [{ keys: ['F3'], shows: /Search:/ }],
    leave: ['Escape', 'F10'],
  },
  {
    program: 'nano',
    script: 'exec nano --ignorercfiles note',
    begins: /GNU nano[\s\S]*\^X/,
    steps: [{ keys: ['a note', 'Enter', 'of two lines'], shows: /\na note\nof two lines\n/ }],
    leave: ['C-x', 'n'],
  },
  {
    program: 'tmux',
    script: 'exec env -u TMUX tmux -f /dev/null -L inner new-session sh',
    begins: /\[0\] 0:sh\*/,
    steps: [
      { keys: ['echo in""side', 'Enter'], shows: /\ninside\n/ },
      { keys: ['C-b', '%'], shows: /│[\s\S]*\[0\] 0:sh/ },
    ],
    leave: ['exit', 'Enter', 'exit', 'Enter'],
  },
  {
    program: 'sh',
    script: drawn,
    begins: /^ 日本語 wide\n\n┌───┐\n\n\n?scrolled [\s\S]*scrolled 9[\s\S]*red\n>$/,
    steps: [{ keys: ['typed', 'Enter'], shows: /\n {4}\[typed\]$/ }],
    leave: ['Enter'],
  },
];

function missing(program: string): string | false {
  return spawnSync('which', [program]).status === 0 ? false : `${program} is not installed`;
}

const textOf = (screen: readonly string[]) => screen.join('\n').trimEnd();

describe('programs that draw on the whole screen', { skip: missing('tmux') }, () => {
  let instance: Instance;

  before(async () => {
    instance = await startInstance();
  });

  after(() => instance?.remove());

  /** Who comes now sees what the user does, however soon the program draws again. */
  async function assertSeenByAll(tmux: Tmux, run: string, size: { columns: number; rows: number }) {
    const viewer = await attach(instance.client, run, { size });
    let seen = '';
    try {
      await tmux.until("the viewer's screen", async (screen) => {
        seen = textOf((await viewer.screen()).map((line) => line.trimEnd()));
        return seen !== '' && seen === textOf(screen);
      });
    } catch (error) {
      throw new Error(`${error}\nthe viewer sees:\n${seen}`);
    }
    await viewer.leave();
  }

  for (const { program, script, begins, steps, leave } of programs)
    it(`${program} looks the same to its user and to who comes late, and after a resize`, {
      skip: missing(program),
    }, async () => {
      const { client, home } = instance;
      const name = `draws-${program}`;
      const quoted = `'${script.replaceAll("'", "'\\''")}'`;
      const tmux = openTmux(`${launcher} run --tty --no-diff --name ${name} -- sh -c ${quoted}`, {
        environment: testEnvironment(home),
      });
      try {
        await tmux.until(`the beginning of ${program}`, (screen) => begins.test(textOf(screen)));
        const [run] = (await client.runs.list({ limit: 1 })).items;
        assert.equal(run?.name, name);
        await assertSeenByAll(tmux, run!.id, { columns: 80, rows: 24 });
        for (const { keys, shows } of steps) {
          for (const key of keys) tmux.keys(key);
          await tmux.until(`${program} after ${keys.join(' ')}`, (screen) => shows.test(textOf(screen)));
        }
        await assertSeenByAll(tmux, run!.id, { columns: 80, rows: 24 });
        if (program !== 'sh') {
          tmux.resize(100, 30);
          await assertSeenByAll(tmux, run!.id, { columns: 100, rows: 30 });
        }
        for (const key of leave) tmux.keys(key);
        await tmux.until(`the end of ${program}`, (screen) => /^status 0$/m.test(textOf(screen)));
      } finally {
        tmux.close();
      }
    });
});
