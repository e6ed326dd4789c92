import { accountPage } from './account.ts';
import { isSignedOut } from './api.ts';
import { authorizePage } from './authorize.ts';
import { devicePage } from './device.ts';
import { element } from './elements.ts';
import { invitationPage } from './invitation.ts';
import { loginPage } from './login.ts';
import { resetPage } from './reset.ts';
import { show, textOf } from './screen.ts';

const pages: Readonly<Record<string, () => Promise<void>>> = {
  '/': async () => location.replace('/account'),
  '/login': loginPage,
  '/invitation': invitationPage,
  '/reset': resetPage,
  '/authorize': authorizePage,
  '/device': devicePage,
  '/account': accountPage,
  // Terminals are large, and nobody who signs in waits for them.
  '/terminals': async () => (await import('./run-terminals.ts')).terminalsPage(),
  '/terminal': async () => (await import('./terminal.ts')).terminalPage(),
  '/replay': async () => (await import('./replay.ts')).replayPage(),
};

/** A page that needs a person sends to the sign-in first, and is come back to. */
async function open(): Promise<void> {
  const { pathname, search, hash } = location;
  try {
    await pages[pathname]?.();
  } catch (error) {
    const isPublic = ['/login', '/invitation', '/reset'].includes(pathname);
    if (isSignedOut(error) && !isPublic)
      location.replace(`/login?${new URLSearchParams({ next: pathname + search + hash })}`);
    else
      show(
        'This did not work',
        element('p', { role: 'alert' }, textOf(error)),
        element('a', { class: 'button plain', href: '/login' }, 'Go to the sign-in page'),
      );
  }
}

void open();
