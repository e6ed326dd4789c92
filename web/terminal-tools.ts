import { button, element } from './elements.ts';
import type { TerminalView } from './terminal-view.ts';

export type TerminalTools = { readonly row: HTMLElement; selected(): void };

/** What stands below a terminal: copying, reading aloud, and which keys do what. */
export function terminalTools(view: TerminalView, hint: string): TerminalTools {
  const copy = button('Copy selection', () => view.copySelection());
  copy.disabled = true;
  const reader = element('input', { type: 'checkbox', id: 'screen-reader' });
  reader.addEventListener('change', () => view.setScreenReader(reader.checked));
  return {
    row: element(
      'div',
      { class: 'terminal-tools' },
      copy,
      element(
        'span',
        { class: 'check' },
        reader,
        element('label', { for: 'screen-reader' }, 'Screen reader mode'),
      ),
      element('small', {}, hint),
    ),
    selected() {
      copy.disabled = !view.hasSelection();
    },
  };
}
