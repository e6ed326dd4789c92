import type { TerminalView } from '../src/contract/attach-schemas.ts';
import type { RunView } from '../src/contract/schemas.ts';
import { call, Problem } from './api.ts';
import { element, timeText } from './elements.ts';
import { clockText } from './playback.ts';
import { offerSignOut, show } from './screen.ts';

/** The run and terminal that the address of a page names. What it names is untrusted until the server has answered. */
export function namedInAddress(): { readonly run: string; readonly terminal: string | null } {
  const query = new URLSearchParams(location.search);
  const run = query.get('run');
  if (run === null || run === '')
    throw new Problem(400, { detail: 'The address names no run: it ends in ?run=run_…' });
  return { run, terminal: query.get('terminal') };
}

export const runPath = (run: string) => `/api/v1/runs/${encodeURIComponent(run)}`;

export async function terminalsOf(run: string): Promise<readonly TerminalView[]> {
  return (await call<{ items: TerminalView[] }>('GET', `${runPath(run)}/terminals`)).items;
}

/** The terminals of a run, to watch and to replay; the newest runs where the address names none. */
export async function terminalsPage(): Promise<void> {
  if (!new URLSearchParams(location.search).has('run')) {
    await runsPage();
    return;
  }
  const { run } = namedInAddress();
  const terminals = await terminalsOf(run);
  offerSignOut();
  document.querySelector('#page')!.classList.add('wide');
  show(
    'Terminals',
    element('p', { class: 'about' }, 'Run ', element('code', {}, run)),
    terminals.length === 0
      ? element('p', {}, 'It has none: it was not started with one, and nobody ran a command beside it.')
      : terminalList(run, terminals, null),
    element('a', { href: '/terminals' }, 'Other runs'),
  );
}

const runsShown = 50;

async function runsPage(): Promise<void> {
  const { items } = await call<{ items: RunView[] }>('GET', `/api/v1/runs?limit=${runsShown}`);
  offerSignOut();
  document.querySelector('#page')!.classList.add('wide');
  show(
    'Terminals',
    element('p', {}, items.length === 0 ? 'There are no runs that you may see.' : 'Of the newest runs:'),
    element('ul', { class: 'list' }, ...items.map(runItem)),
  );
}

function runItem({ id, name, command, phase, owner, createdAt }: RunView): HTMLLIElement {
  const text = name ?? commandText(command);
  return element(
    'li',
    {},
    element(
      'span',
      {},
      element('code', {}, text),
      element('small', {}, `${phase}, of ${owner}, ${timeText(createdAt)}`),
    ),
    element(
      'a',
      {
        class: 'button',
        href: `/terminals?${new URLSearchParams({ run: id })}`,
        'aria-label': `Terminals of ${text}, ${id}`,
      },
      'Terminals',
    ),
  );
}

type TerminalPage = '/terminal' | '/replay';
/** The terminal that a page shows, so that its list does not lead back to where one is. */
type Open = { readonly page: TerminalPage; readonly id: string | null };

export function terminalList(
  run: string,
  terminals: readonly TerminalView[],
  open: Open | null,
): HTMLUListElement {
  return element('ul', { class: 'list terminals' }, ...terminals.map((one) => item(run, one, open)));
}

function item(run: string, terminal: TerminalView, open: Open | null): HTMLLIElement {
  const { id, kind, actor, command, openedAt, endedAt, exitCode, recording } = terminal;
  const end = endedAt === null ? 'live' : exitCode === null ? 'ended' : `ended with ${exitCode}`;
  const query = new URLSearchParams({ run, terminal: id });
  const name = kind === 'run' ? 'The run’s own' : `Command of ${actor}`;
  const link = (page: TerminalPage, text: string) =>
    open?.id === id && open.page === page
      ? element('em', {}, 'shown')
      : element(
          'a',
          { class: 'button', href: `${page}?${query}`, 'aria-label': `${text}: ${name}, ${id}` },
          text,
        );
  return element(
    'li',
    open?.id === id ? { 'aria-current': 'true' } : {},
    element(
      'span',
      {},
      `${name}, ${end}`,
      element('small', {}, element('code', {}, commandText(command))),
      element('small', {}, `since ${timeText(openedAt)}, ${clockText(recording.seconds)} recorded`),
    ),
    element(
      'span',
      { class: 'links' },
      endedAt === null ? link('/terminal', 'Watch') : null,
      recording.bytes > 0 ? link('/replay', 'Replay') : null,
    ),
  );
}

/** What is not seen, or turns the text around it. */
const unseen = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** A command as one would type it, but short; control characters are shown, not obeyed. */
export function commandText(command: readonly string[]): string {
  const words = command.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word)));
  const text = words
    .join(' ')
    .replace(unseen, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);
  return text.length > 120 ? `${text.slice(0, 119)}…` : text;
}
