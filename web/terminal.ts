import type { AttachEnd } from '../src/client/attach/session.ts';
import type { AccountView } from '../src/contract/account-schemas.ts';
import type { SignInMethods } from '../src/contract/sign-in-schemas.ts';
import { call, isSignedOut } from './api.ts';
import { attachControls, type ControlActs } from './attach-controls.ts';
import { drivingWarning, endText, refusalText, takeOverWarning } from './attach-texts.ts';
import { confirmed } from './confirm.ts';
import { button, element } from './elements.ts';
import { LiveTerminal, type Wish } from './live-terminal.ts';
import { namedInAddress, terminalList, terminalsOf } from './run-terminals.ts';
import { type Notice, notice, offerSignOut, show } from './screen.ts';
import { withProof } from './step-up.ts';
import { terminalTools } from './terminal-tools.ts';
import { openTerminalView } from './terminal-view.ts';

/** A live terminal: everybody who may comes in as a viewer, and drives only after saying so. */
export async function terminalPage(): Promise<void> {
  const at = namedInAddress();
  const [account, methods, terminals] = await Promise.all([
    call<AccountView>('GET', '/api/v1/account'),
    call<SignInMethods>('GET', '/auth/methods'),
    terminalsOf(at.run),
  ]);
  const open = at.terminal ?? terminals.find(({ kind }) => kind === 'run')?.id ?? null;
  const said = notice();
  const ended = element('div', { class: 'attach-end' });
  const view = openTerminalView('Terminal', {
    typed: (bytes) => live.type(bytes),
    roomChanged: () => live.fitWindow(),
    left: () => controls.focus(),
    selected: () => tools.selected(),
  });
  const live: LiveTerminal = new LiveTerminal(at, view, {
    changed(state) {
      controls.show(state);
      if (state.phase === 'attached') ended.replaceChildren();
    },
    refused: (detail) => said.say(detail),
    ended: (end, wish) => endedWith(end, wish, { live, said, ended, at, open }),
    proved: (work) => withProof(account, methods.passkeys, work),
  });
  const controls = attachControls(controlActs(live, said));
  const tools = terminalTools(
    view,
    'Ctrl+F6 leaves the terminal, Ctrl+Shift+C copies, Shift selects where a program takes the mouse.',
  );
  offerSignOut();
  document.querySelector('#page')!.classList.add('full');
  show(
    'Terminal',
    element('p', { class: 'about' }, 'Run ', element('code', {}, at.run)),
    controls.bar,
    said.box,
    ended,
    view.box,
    tools.row,
    element(
      'div',
      { class: 'columns' },
      controls.people,
      element(
        'section',
        {},
        element('h2', {}, 'Terminals of this run'),
        terminalList(at.run, terminals, { page: '/terminal', id: open }),
      ),
    ),
  );
  document.querySelector('h1')!.focus();
  addEventListener('pagehide', () => live.leave());
  live.attach({ role: 'viewer' });
}

function controlActs(live: LiveTerminal, said: Notice): ControlActs {
  return {
    async take(takeover) {
      const question = {
        title: takeover ? 'Take over from whoever drives?' : 'Take the wheel?',
        texts: takeover ? [takeOverWarning, ...drivingWarning] : drivingWarning,
        agree: 'I understand that I act in the sandbox under my name, and that it is recorded',
        action: takeover ? 'Take over' : 'Drive',
      };
      if (!(await confirmed(question))) return;
      said.clear();
      live.drive(takeover);
    },
    release() {
      said.clear();
      live.release();
    },
    async handOver(to, name) {
      const question = {
        title: `Hand over to ${name}?`,
        texts: [`From then on ${name} types, and you do not. Both are recorded.`],
        agree: `I hand over to ${name}`,
        action: 'Hand over',
      };
      if (await confirmed(question)) live.handOver(to);
    },
  };
}

type Ended = {
  readonly live: LiveTerminal;
  readonly said: Notice;
  readonly ended: HTMLElement;
  readonly at: { readonly run: string };
  readonly open: string | null;
};

function endedWith(end: AttachEnd, wish: Wish, { live, said, ended, at, open }: Ended): void {
  if (end.by === 'refusal' && wish.role === 'driver' && !isSignedOut(end.error)) {
    // Whoever may not drive may still watch.
    said.say(refusalText(end.error));
    live.attach({ role: 'viewer' });
    return;
  }
  const query = new URLSearchParams({ run: at.run, ...(open === null ? {} : { terminal: open }) });
  const isOver = end.by === 'command' || (end.by === 'server' && end.reason === 'ended');
  ended.replaceChildren(
    element('p', { role: isOver ? 'status' : 'alert' }, endText(end)),
    element(
      'div',
      { class: 'row' },
      isOver ? null : button('Connect again', () => location.reload()),
      element('a', { class: 'button', href: `/replay?${query}` }, 'Replay what was recorded'),
    ),
  );
}
