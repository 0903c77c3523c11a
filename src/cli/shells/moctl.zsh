#compdef moctl
# Completes the words of moctl in zsh: source <(moctl completion zsh) in ~/.zshrc after compinit, or save it as _moctl
# in a directory of $fpath.

_moctl() {
  local line
  local -a candidates
  # The moctl of PATH, and not what the line names: a key is no reason to run a program of this directory.
  for line in "${(@f)$(command moctl completion zsh -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
    case $line in
      (:directories) _files -/ ;;
      (:files) _files ;;
      (?*) candidates+=("${line/$'\t'/:}") ;;
    esac
  done
  (($#candidates)) && _describe moctl candidates
}

if [[ ${funcstack[1]} == _moctl ]]; then
  _moctl "$@"
else
  compdef _moctl moctl
fi
