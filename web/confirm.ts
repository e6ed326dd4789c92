import { button, element } from './elements.ts';

export type Question = {
  readonly title: string;
  readonly texts: readonly string[];
  /** What the person says by ticking the box; nothing happens without it. */
  readonly agree: string;
  readonly action: string;
};

/** Asks in words; resolves to whether the person agreed. */
export function confirmed({ title, texts, agree, action }: Question): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const box = element('input', { type: 'checkbox', id: 'confirm-agree', autofocus: true });
  const go = button(
    action,
    () => {
      resolve(true);
      dialog.close();
    },
    'danger',
  );
  go.disabled = true;
  box.addEventListener('change', () => {
    go.disabled = !box.checked;
  });
  const dialog: HTMLDialogElement = element(
    'dialog',
    { class: 'confirm', 'aria-labelledby': 'confirm-title', 'aria-describedby': 'confirm-texts' },
    element('h2', { id: 'confirm-title' }, title),
    element('div', { id: 'confirm-texts' }, ...texts.map((text) => element('p', {}, text))),
    element('div', { class: 'check' }, box, element('label', { for: 'confirm-agree' }, agree)),
    element(
      'div',
      { class: 'row' },
      go,
      button('Cancel', () => dialog.close()),
    ),
  );
  dialog.addEventListener('close', () => {
    dialog.remove();
    resolve(false);
  });
  document.body.append(dialog);
  dialog.showModal();
  return promise;
}
