import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import { runnerLimits } from '../runner/limits.ts';
import { readGroupMounts } from '../sandbox/local/cgroup/mounts.ts';
import { openLocalBackend } from '../sandbox/local/open.ts';
import { dataFolderOf, readSettings, readSettingsFile } from './settings.ts';

/**
 * `sealwright doctor`: looks at everything a sandbox needs of this machine, says what each thing is for and how
 * to mend what is missing, and ends by making a real sandbox. Exits with 0 when runs will work here, else 1.
 */
type Verdict = 'ok' | 'weak' | 'missing';
type Finding = {
  readonly what: string;
  readonly verdict: Verdict;
  readonly found: string;
  readonly fix?: string;
};

const asRoot = process.getuid?.() === 0;
const insideUserNamespace = process.env.SEALWRIGHT_DOCTOR_INSIDE === '1';

const programs = [
  { program: 'bwrap', debianPackage: 'bubblewrap', why: 'makes the sandbox' },
  { program: 'nsenter', debianPackage: 'util-linux', why: 'enters the sandbox network' },
  { program: 'unshare', debianPackage: 'util-linux', why: 'makes namespaces' },
  { program: 'setpriv', debianPackage: 'util-linux', why: 'drops privileges' },
  { program: 'git', debianPackage: 'git', why: 'unpacks and compares repositories' },
  { program: 'ip', debianPackage: 'iproute2', why: 'shows sandbox networks to administrators' },
  { program: 'du', debianPackage: 'coreutils', why: 'measures disk use' },
  { program: 'dash', debianPackage: 'dash', why: 'checks the walls from inside' },
] as const;

async function main(): Promise<void> {
  const json = process.argv.includes('--json');
  if (process.argv.includes('--help') || process.argv.includes('-h')) {
    console.log(
      'Usage: sealwright doctor [--json]\n\nChecks what sandboxes need of this machine and says how to mend what is missing.',
    );
    return;
  }
  const findings = [
    platform(),
    kernel(),
    ...programs.map(programFinding),
    userNamespaces(),
    appArmor(),
    controlGroups(),
    disk(),
    await port(),
    await sandbox(),
  ].filter((finding) => finding !== null);
  if (json)
    console.log(
      JSON.stringify({ ok: findings.every((finding) => finding.verdict !== 'missing'), findings }, null, 2),
    );
  else for (const finding of findings) console.log(describe(finding));
  process.exitCode = findings.some((finding) => finding.verdict === 'missing') ? 1 : 0;
}

function describe({ what, verdict, found, fix }: Finding): string {
  const mark = { ok: 'ok     ', weak: 'weak   ', missing: 'MISSING' }[verdict];
  return `${mark}  ${what}: ${found}${fix === undefined ? '' : `\n         fix: ${fix}`}`;
}

function platform(): Finding {
  const fits = process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64');
  const found = `${process.platform} on ${process.arch}, as ${asRoot ? 'root' : 'an ordinary user'}`;
  return {
    what: 'platform',
    verdict: fits ? 'ok' : 'missing',
    found,
    ...(fits ? {} : { fix: 'run the server on Linux, x64 or arm64' }),
  };
}

function kernel(): Finding {
  const release = readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();
  const [major = 0, minor = 0] = release.split('.').map(Number);
  const fits = major > 5 || (major === 5 && minor >= 14);
  return {
    what: 'kernel',
    verdict: fits ? 'ok' : 'missing',
    found: release,
    ...(fits
      ? {}
      : { fix: 'use Linux 5.14 or later: before it, the limit on processes counts all of a user' }),
  };
}

function programFinding({ program, debianPackage, why }: (typeof programs)[number]): Finding {
  const path = ['/usr/bin', '/bin', '/usr/sbin', '/sbin']
    .map((folder) => join(folder, program))
    .find((file) => existsSync(file));
  if (path !== undefined) return { what: program, verdict: 'ok', found: `${path} (${why})` };
  return {
    what: program,
    verdict: 'missing',
    found: `not here (${why})`,
    fix: `apt-get install ${debianPackage}`,
  };
}

/** Tried as the user that will need them: a session's uid, or this one. */
function userNamespaces(): Finding {
  const words = ['/usr/bin/unshare', '--user', '--map-root-user', '--', '/bin/true'];
  const uid = String(runnerLimits.firstSessionUid - 1);
  const drop = asRoot ? ['/usr/bin/setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'] : [];
  try {
    const [program, ...rest] = [...drop, ...words] as [string, ...string[]];
    execFileSync(program, rest, { env: {}, stdio: 'pipe' });
    return { what: 'user namespaces', verdict: 'ok', found: 'an ordinary user can make them' };
  } catch (error) {
    const said =
      String((error as { stderr?: Buffer }).stderr ?? error)
        .trim()
        .split('\n')[0] ?? '';
    return { what: 'user namespaces', verdict: 'missing', found: said, fix: userNamespaceFix() };
  }
}

function userNamespaceFix(): string {
  if (readSysctl('user.max_user_namespaces') === '0') return 'sysctl -w user.max_user_namespaces=65536';
  if (readSysctl('kernel.unprivileged_userns_clone') === '0')
    return 'sysctl -w kernel.unprivileged_userns_clone=1';
  if (readSysctl('kernel.apparmor_restrict_unprivileged_userns') === '1') return appArmorFix;
  return 'in a container, start it so that it may make user namespaces (seccomp and AppArmor unconfined)';
}

const appArmorFix = `give bubblewrap and unshare an AppArmor profile that allows user namespaces: write
           abi <abi/4.0>, include <tunables/global>
           profile sealwright-bwrap /usr/bin/bwrap flags=(unconfined) { userns, }
           profile sealwright-unshare /usr/bin/unshare flags=(unconfined) { userns, }
         to /etc/apparmor.d/sealwright, each on a line of its own, then: apparmor_parser -r /etc/apparmor.d/sealwright
         (or, for the whole machine: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)`;

function appArmor(): Finding | null {
  const value = readSysctl('kernel.apparmor_restrict_unprivileged_userns');
  if (value !== '1') return null;
  const profiled = existsSync('/etc/apparmor.d/sealwright') || existsSync('/etc/apparmor.d/bwrap');
  if (profiled)
    return {
      what: 'AppArmor',
      verdict: 'ok',
      found: 'restricts user namespaces; a profile for bubblewrap is there',
    };
  return {
    what: 'AppArmor',
    verdict: 'missing',
    found: 'this machine restricts user namespaces (Ubuntu 23.10 and later do)',
    fix: appArmorFix,
  };
}

function readSysctl(name: string): string | null {
  try {
    return readFileSync(join('/proc/sys', name.replaceAll('.', '/')), 'utf8').trim();
  } catch {
    return null;
  }
}

function controlGroups(): Finding {
  const names = readGroupMounts().map((mount) => mount.controller);
  if (['memory', 'pids', 'cpu', 'cpuacct'].every((name) => names.includes(name)) && asRoot) {
    return { what: 'control groups', verdict: 'ok', found: 'version 1 holds memory, processes and CPU' };
  }
  if (names.includes('unified'))
    return { what: 'control groups', verdict: 'ok', found: 'version 2 is mounted; used where delegated' };
  return {
    what: 'control groups',
    verdict: 'weak',
    found: 'none that this user may use: a watcher and rlimits take their place, and strict runs are refused',
    fix: 'start as root, or let systemd delegate: systemd-run --user --scope -p Delegate=yes ./bin/sealwright up',
  };
}

function disk(): Finding {
  let folder = dataFolderOf(process.env, process.getuid?.() ?? -1);
  while (!existsSync(folder)) folder = dirname(folder);
  const { bavail, bsize } = statfsSync(folder);
  const gib = (bavail * bsize) / 1024 ** 3;
  const found = `${gib.toFixed(1)} GiB free below ${folder}`;
  if (gib >= 1) return { what: 'disk', verdict: 'ok', found };
  return {
    what: 'disk',
    verdict: 'weak',
    found,
    fix: 'make room, or put the data folder elsewhere with SEALWRIGHT_HOME',
  };
}

async function port(): Promise<Finding> {
  const home = dataFolderOf(process.env, process.getuid?.() ?? -1);
  const { listen } = readSettings({
    flags: {},
    environment: process.env,
    file: readSettingsFile(join(home, 'config.yaml')),
  });
  const taken = await new Promise<boolean>((resolve) => {
    const socket = createConnection({ host: listen.host, port: listen.port });
    socket.once('connect', () => resolve(socket.destroy() !== undefined));
    socket.once('error', () => resolve(false));
  });
  const found = `${listen.host}:${listen.port} ${taken ? 'answers: sealwright, or another program' : 'is free'}`;
  return { what: 'port', verdict: 'ok', found };
}

/** The proof: a sandbox with every wall, confirmed from inside. */
async function sandbox(): Promise<Finding> {
  if (!asRoot && !insideUserNamespace) return sandboxInside();
  // As root a session's user has to get there, and TMPDIR may lie where only root can go.
  const parent = insideUserNamespace ? tmpdir() : '/run';
  const folder = mkdtempSync(join(parent, 'sealwright-doctor-'));
  chmodSync(folder, 0o755);
  const mode = insideUserNamespace ? 'user' : 'root';
  try {
    const backend = await openLocalBackend({
      folder,
      instance: `sealwright-doctor-${process.pid}`,
      mode,
      probeUid: mode === 'root' ? runnerLimits.firstSessionUid - 1 : null,
      workerUrl: new URL('./namespace-worker.js', import.meta.url),
      gateway: null,
      clock: systemClock,
    });
    await backend.close();
    const means = Object.entries(backend.heldBy).map(([limit, held]) => `${limit} by ${held}`);
    return { what: 'sandbox', verdict: 'ok', found: `made one, its walls stand; ${means.join(', ')}` };
  } catch (error) {
    const found = error instanceof Fault ? error.detail : String(error);
    return { what: 'sandbox', verdict: 'missing', found, fix: 'mend what is named above and run this again' };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** As an ordinary user the runner works inside a user namespace of its own; so does this check. */
function sandboxInside(): Finding {
  const words = ['--user', '--map-root-user', '--mount', '--', process.execPath, process.argv[1]!, '--json'];
  try {
    const env = { ...process.env, SEALWRIGHT_DOCTOR_INSIDE: '1' };
    const said = execFileSync('/usr/bin/unshare', words, {
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return sandboxOf(said);
  } catch (error) {
    const said = (error as { stdout?: string }).stdout;
    if (said?.startsWith('{')) return sandboxOf(said);
    return {
      what: 'sandbox',
      verdict: 'missing',
      found: 'no user namespace to make it in',
      fix: userNamespaceFix(),
    };
  }
}

function sandboxOf(report: string): Finding {
  const { findings } = JSON.parse(report) as { findings: Finding[] };
  return findings.find((finding) => finding.what === 'sandbox')!;
}

main().catch((error: unknown) => {
  console.error(`sealwright: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
});
