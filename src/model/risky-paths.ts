/**
 * Files that make other programs run code on the machine of whoever has them: applying a change to one is
 * asked for by name. A pattern is a list of path components at any depth: `name` matches a file of that name, a
 * trailing `/` such a folder and everything below it, `*` matches within one component. Lower case.
 */
export type RiskyKind = {
  readonly kind: string;
  /** What runs it, as the end of a sentence: "… run by git". */
  readonly because: string;
  readonly patterns: readonly string[];
};

export const riskyKinds: readonly RiskyKind[] = [
  {
    kind: 'git hook or configuration',
    because: 'git or a hook manager acts on it at the next commit, checkout or fetch',
    patterns: [
      '.gitmodules',
      '.gitattributes',
      '.gitconfig',
      '.githooks/',
      '.husky/',
      'hooks/pre-*',
      'hooks/post-*',
      'lefthook.*',
      '.lefthook.*',
      '.lefthook/',
      '.pre-commit-config.yaml',
      '.pre-commit-hooks.yaml',
      '.overcommit.yml',
      '.lintstagedrc*',
      'lint-staged.config.*',
    ],
  },
  {
    kind: 'editor settings',
    because: 'an editor runs tasks and tools that it names when the folder is opened',
    patterns: [
      '.vscode/',
      '.idea/',
      '.zed/',
      '.fleet/',
      '.nova/',
      '.theia/',
      '.devcontainer/',
      '.devcontainer.json',
      '*.code-workspace',
      '*.sublime-project',
      '.vimrc',
      '_vimrc',
      '.exrc',
      '.nvimrc',
      '.nvim.lua',
      '.vim/',
      '.dir-locals.el',
      '.dir-locals-2.el',
      '*.sln',
      '*.csproj',
      '*.vcxproj',
    ],
  },
  {
    kind: 'agent or MCP settings',
    because: 'a coding agent starts the servers and follows the orders it names',
    patterns: [
      '.mcp.json',
      'mcp.json',
      '.claude/',
      'claude.md',
      'claude.local.md',
      '.cursor/',
      '.cursorrules',
      '.cursorignore',
      '.codex/',
      'agents.md',
      '.gemini/',
      'gemini.md',
      '.windsurf/',
      '.windsurfrules',
      '.aider*',
      '.continue/',
      '.roo/',
      '.cline*',
      '.clinerules/',
      '.github/copilot-instructions.md',
    ],
  },
  {
    kind: 'package manager settings',
    because: 'a package manager runs its scripts or fetches from where it says',
    patterns: [
      '.npmrc',
      '.yarnrc',
      '.yarnrc.yml',
      '.yarn/',
      '.pnpmfile.*',
      'pnpm-workspace.yaml',
      'package.json',
      'package.json5',
      'package.yaml',
      'package-lock.json',
      'npm-shrinkwrap.json',
      'yarn.lock',
      'pnpm-lock.yaml',
      'bun.lock*',
      'bunfig.toml',
      'node_modules/',
      'deno.json*',
      '.pypirc',
      'pip.conf',
      '.condarc',
      'composer.json',
      'gemfile*',
      '*.gemspec',
      '.bundle/',
      'cargo.toml',
      '.cargo/',
      'go.work',
      'nuget.config',
      '.tool-versions',
      'mise.toml',
      '.mise.toml',
      '.mise/',
    ],
  },
  {
    kind: 'CI workflow',
    because: 'a CI system runs it with its own credentials',
    patterns: [
      '.github/workflows/',
      '.github/actions/',
      '.github/dependabot.yml',
      'action.yml',
      'action.yaml',
      '.gitlab-ci.yml',
      '.gitlab/ci/',
      '.circleci/',
      'jenkinsfile*',
      '.buildkite/',
      'azure-pipelines*.yml',
      'azure-pipelines*.yaml',
      '.azure-pipelines/',
      '.travis.yml',
      'appveyor.yml',
      '.appveyor.yml',
      'bitbucket-pipelines.yml',
      '.drone.yml',
      '.woodpecker*',
      '.teamcity/',
      '.cirrus.yml',
      '.forgejo/',
      '.gitea/',
      '.ci/',
      'cloudbuild.yaml',
      'buildspec.yml',
    ],
  },
  {
    kind: 'build file',
    because: 'a build or test command runs what it says',
    patterns: [
      'makefile',
      'makefile.*',
      'gnumakefile',
      'bsdmakefile',
      '*.mk',
      '*.mak',
      'cmakelists.txt',
      '*.cmake',
      'cmakepresets.json',
      'cmakeuserpresets.json',
      'configure',
      'configure.ac',
      'configure.in',
      'autogen.sh',
      '*.gradle',
      '*.gradle.kts',
      'gradle.properties',
      'gradlew*',
      'gradle/wrapper/',
      'pom.xml',
      '.mvn/',
      'mvnw*',
      'build.xml',
      'build.sbt',
      'build.rs',
      'build.zig',
      'setup.py',
      'setup.cfg',
      'pyproject.toml',
      'conftest.py',
      'sitecustomize.py',
      'usercustomize.py',
      '*.pth',
      'tox.ini',
      'pytest.ini',
      'noxfile.py',
      'tasks.py',
      'fabfile.py',
      'dodo.py',
      'manage.py',
      'sconstruct',
      'sconscript',
      'wscript',
      'dockerfile*',
      'containerfile*',
      '*.dockerfile',
      'compose.y*ml',
      'docker-compose*.y*ml',
      'docker-bake.*',
      'vagrantfile',
      'tiltfile',
      'skaffold.yaml',
      'rakefile*',
      '*.rake',
      'justfile',
      '.justfile',
      'taskfile.y*ml',
      'earthfile',
      'meson.build',
      'build',
      'build.bazel',
      'workspace',
      'workspace.bazel',
      'module.bazel',
      '.bazelrc',
      '*.bzl',
      'build.ninja',
      'flake.nix',
      'default.nix',
      'shell.nix',
      'gulpfile.*',
      'gruntfile.*',
      'webpack.config.*',
      'vite.config.*',
      'vitest.config.*',
      'rollup.config.*',
      'esbuild.config.*',
      'babel.config.*',
      '.babelrc*',
      'eslint.config.*',
      '.eslintrc*',
      'prettier.config.*',
      '.prettierrc*',
      'jest.config.*',
      'playwright.config.*',
      'next.config.*',
      'directory.build.props',
      'directory.build.targets',
    ],
  },
  {
    kind: 'shell environment',
    because: 'a shell or a tool loads it when the folder is entered',
    patterns: [
      '.envrc',
      '.env',
      '.env.*',
      '.autoenv*',
      '.bashrc',
      '.bash_profile',
      '.profile',
      '.zshrc',
      '.zshenv',
      '.lldbinit',
      '.gdbinit',
    ],
  },
];

/** Characters that HFS+ drops from names, so that `.g\u200cit` is `.git` there. */
const ignorable = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;

/**
 * A path component as the most forgiving file system reads it: without HFS+'s ignorable characters, NTFS
 * streams and trailing dots and blanks, and with every case folded into one.
 */
export function foldComponent(component: string): string {
  const stripped = component
    .replace(ignorable, '')
    .replace(/:.*$/s, '')
    .replace(/[. ]+$/, '');
  return (stripped === '' ? component : stripped).normalize('NFC').toUpperCase().toLowerCase();
}

/** The components of a relative path, `\` counting as a separator too, as it does on Windows. */
export function splitPath(path: string): string[] {
  return path.split(/[/\\]/);
}

/** Whether some file system would take a component of this path for `.git`. */
export function namesGitFolder(path: string): boolean {
  return splitPath(path).some((component) => /^(?:\.git|git~\d+)$/.test(foldComponent(component)));
}

type Compiled = {
  readonly kind: RiskyKind;
  readonly folder: boolean;
  readonly components: readonly RegExp[];
};

const compiled: readonly Compiled[] = riskyKinds.flatMap((kind) =>
  kind.patterns.map((pattern) => ({
    kind,
    folder: pattern.endsWith('/'),
    components: pattern.split('/').filter(Boolean).map(componentPattern),
  })),
);

function componentPattern(glob: string): RegExp {
  const literal = glob.replace(/[.*+?^${}()|[\]\\]/g, (character) =>
    character === '*' ? '.*' : `\\${character}`,
  );
  return new RegExp(`^${literal}$`, 's');
}

/** A short (8.3) name, which on Windows may stand for any longer one. */
const shortName = /^[^.]{1,6}~\d{1,6}(?:\.[^.]{1,3})?$/;
const shortNameKind: RiskyKind = {
  kind: 'short (8.3) file name',
  because: 'Windows may take it for another file',
  patterns: [],
};

/** Why a change to this path is asked for by name, or null. Case, and tricks of file systems, do not matter. */
export function riskOfPath(path: string): RiskyKind | null {
  const components = splitPath(path).map(foldComponent);
  for (const { kind, folder, components: wanted } of compiled) {
    const last = components.length - wanted.length;
    for (let start = folder ? 0 : Math.max(last, 0); start <= last; start += 1) {
      if (wanted.every((part, index) => part.test(components[start + index]!))) return kind;
    }
  }
  return components.some((component) => shortName.test(component)) ? shortNameKind : null;
}
