import { systemClock } from '../src/base/clock.ts';
import type { TerminalView as TerminalFacts, TerminalMatch } from '../src/contract/attach-schemas.ts';
import { answerOf, call } from './api.ts';
import { type Cast, CastReader } from './asciicast.ts';
import { button, element, field, timeText } from './elements.ts';
import { clockText, Playback } from './playback.ts';
import { type Transport, transportOf } from './replay-transport.ts';
import { commandText, namedInAddress, runPath, terminalList, terminalsOf } from './run-terminals.ts';
import { form, offerSignOut, show } from './screen.ts';
import { terminalTools } from './terminal-tools.ts';
import { openTerminalView, type TerminalView } from './terminal-view.ts';

const matchesMax = 100;

/** Plays what was recorded of a terminal, with the protections of a live one. */
export async function replayPage(): Promise<void> {
  const { run, terminal: named } = namedInAddress();
  const terminals = await terminalsOf(run);
  offerSignOut();
  document.querySelector('#page')!.classList.add('full');
  const terminal =
    terminals.find(({ id, kind }) => (named === null ? kind === 'run' : id === named)) ?? terminals[0];
  if (terminal === undefined || (named !== null && terminal.id !== named))
    return show('Replay', element('p', { role: 'alert' }, 'There is no such terminal in this run.'));
  const path = `${runPath(run)}/terminals/${encodeURIComponent(terminal.id)}`;
  const progress = element('p', { role: 'status' }, 'Fetching the recording…');
  const around = [about(run, terminal), progress];
  show('Replay', ...around);
  const cast = await fetchCast(`${path}/recording`, (bytes) => {
    progress.textContent = `Fetching the recording: ${(bytes / 1024 / 1024).toFixed(0)} MiB…`;
  });
  const view = openTerminalView('What was recorded', { selected: () => tools.selected() });
  const tools = terminalTools(view, 'Ctrl+C copies what is selected.');
  const transport = transportOf(playbackOn(cast, view), cast);
  show(
    'Replay',
    about(run, terminal),
    ...gaps(cast, terminal, path),
    element('div', { class: 'player' }, view.box, transport.bar),
    tools.row,
    element(
      'div',
      { class: 'columns' },
      searchIn(path, transport),
      element(
        'section',
        {},
        element('h2', {}, 'Terminals of this run'),
        terminalList(run, terminals, { page: '/replay', id: terminal.id }),
      ),
    ),
  );
  transport.begin();
}

function about(run: string, { command, openedAt, actor }: TerminalFacts): HTMLElement {
  return element(
    'p',
    { class: 'about' },
    element('code', {}, commandText(command)),
    ` of ${actor}, ${timeText(openedAt)}, run `,
    element('code', {}, run),
  );
}

/** What the viewer has to know of a recording that is not whole. */
function gaps({ isCut }: Cast, { recording, endedAt }: TerminalFacts, path: string): HTMLElement[] {
  const texts: string[] = [];
  if (!recording.complete) texts.push('Parts in the middle were dropped to stay within the limit.');
  if (isCut) texts.push('It is too large for a browser: this is its beginning.');
  if (endedAt === null)
    texts.push('The terminal is still live: this is what was recorded when the page was opened.');
  if (texts.length === 0) return [];
  const download = isCut
    ? element('a', { href: `${path}/recording`, download: 'recording.cast' }, 'Download all of it')
    : null;
  return [element('p', { class: 'warning' }, `${texts.join(' ')} `, download)];
}

async function fetchCast(path: string, progress: (bytes: number) => void): Promise<Cast> {
  const { body } = await answerOf(path);
  const reader = new CastReader();
  const decoder = new TextDecoder();
  const stream = body!.getReader();
  let bytes = 0;
  let shown = 0;
  for (let part = await stream.read(); !part.done; part = await stream.read()) {
    bytes += part.value.length;
    if (!reader.push(decoder.decode(part.value, { stream: true }))) {
      await stream.cancel();
      return reader.end();
    }
    if (bytes - shown < 1024 * 1024) continue;
    shown = bytes;
    progress(bytes);
    // What comes fast from a near server must not keep the page from answering.
    await new Promise((resolve) => setTimeout(resolve));
  }
  reader.push(decoder.decode());
  return reader.end();
}

function playbackOn(cast: Cast, view: TerminalView): Playback {
  const clock = {
    now: () => systemClock.monotonic(),
    frame: () => new Promise<void>((resolve) => requestAnimationFrame(() => resolve())),
  };
  return new Playback(cast, view, clock);
}

/** The server looks through all of the recording's text, also what the page did not fetch. */
function searchIn(path: string, transport: Transport): HTMLElement {
  const text = field('Text to look for', { type: 'search', maxlength: 200 });
  const found = element('div', { role: 'status' });
  const look = form({
    action: 'Search',
    fields: [text.row],
    submit: async () => {
      const query = new URLSearchParams({ text: text.input.value, limit: String(matchesMax) });
      const { items } = await call<{ items: TerminalMatch[] }>('GET', `${path}/search?${query}`);
      found.replaceChildren(...matches(items, transport));
    },
  });
  look.classList.add('search');
  return element('section', {}, element('h2', {}, 'Search'), look, found);
}

function matches(items: readonly TerminalMatch[], transport: Transport): HTMLElement[] {
  if (items.length === 0) return [element('p', {}, 'Nothing was found.')];
  const more = items.length === matchesMax ? `The first ${matchesMax} places:` : `${items.length} found:`;
  return [
    element('p', {}, more),
    element(
      'ol',
      { class: 'matches' },
      ...items.map(({ at, line }) => {
        const jump = button('', () => transport.jump(at), 'match');
        jump.append(
          element('span', { class: 'time' }, clockText(at)),
          element('code', {}, line.slice(0, 300)),
        );
        return element('li', {}, jump);
      }),
    ),
  ];
}
