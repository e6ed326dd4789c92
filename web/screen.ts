import { call } from './api.ts';
import { type Child, element } from './elements.ts';

/** Shows what stands on the page now, and moves the keyboard to where it goes on. */
export function show(title: string, ...children: readonly Child[]): void {
  document.title = `${title} · Sealwright`;
  const heading = element('h1', { tabindex: '-1' }, title);
  const card = element('section', { class: 'card' }, heading, ...children);
  document.querySelector('#page')!.replaceChildren(card);
  const first = card.querySelector<HTMLElement>('[autofocus], input:not([type=hidden], [readonly])');
  (first ?? heading).focus();
}

/** The way out, on every page that is for somebody who signed in. */
export function offerSignOut(): void {
  const top = document.querySelector('.top')!;
  if (top.querySelector('button') !== null) return;
  const said = notice();
  const leave = actButton('Sign out', said, async () => {
    await call('POST', '/auth/sign-out');
    location.replace('/login');
  });
  top.append(said.box, leave);
}

export type Notice = { readonly box: HTMLElement; say(text: string): void; clear(): void };

/** Where a page says what went wrong; it is read out at once. */
export function notice(): Notice {
  const box = element('p', { class: 'notice', role: 'alert', 'aria-live': 'assertive' });
  return {
    box,
    say: (text) => {
      box.textContent = text;
    },
    clear: () => {
      box.textContent = '';
    },
  };
}

/** What to tell people about a failure. */
export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export type FormOptions = {
  readonly action: string;
  readonly fields: readonly Child[];
  readonly submit: () => Promise<unknown>;
  readonly below?: readonly Child[];
};

/** A form that is sent once at a time, says what went wrong and stays as it was typed. */
export function form({ action, fields, submit, below = [] }: FormOptions): HTMLFormElement {
  const said = notice();
  const send = element('button', { type: 'submit', class: 'primary' }, action);
  const made = element('form', {}, ...fields, said.box, send, ...below);
  made.addEventListener('submit', (event) => {
    event.preventDefault();
    if (send.disabled) return;
    said.clear();
    void busy(send, submit).catch((error: unknown) => {
      said.say(textOf(error));
      made.querySelector<HTMLInputElement>('input')?.focus();
    });
  });
  return made;
}

/** Nothing is sent twice while it is under way. */
export async function busy(pressed: HTMLButtonElement, work: () => Promise<unknown>): Promise<void> {
  pressed.disabled = true;
  pressed.setAttribute('aria-busy', 'true');
  try {
    await work();
  } finally {
    pressed.disabled = false;
    pressed.removeAttribute('aria-busy');
  }
}

/** A button whose failure is said in the notice. */
export function actButton(
  text: string,
  said: Notice,
  work: () => Promise<unknown>,
  kind = '',
): HTMLButtonElement {
  const made = element('button', { type: 'button', class: kind }, text);
  made.addEventListener('click', () => {
    said.clear();
    void busy(made, work).catch((error: unknown) => said.say(textOf(error)));
  });
  return made;
}
