# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for vprovctl

_vprovctl_guests ()
{
  vprovctl list --no-legend --no-pager 2> /dev/null | cut -d ' ' -f 1
}

_vprovctl_words ()
{
  local verb=$1 second=$2

  case $verb in
    start | stop | status | cat | plan | apply)
      _vprovctl_guests
      ;;
    adopt)
      virsh -q list --all --name 2> /dev/null
      ;;
    forward)
      case $second in
        '') echo 'list check' ;;
        check)
          vprovctl forward list --no-legend --no-pager 2> /dev/null |
            awk '{ sub(/-.*/, "", $3); print $1 ":" $3 ($2 == "udp" ? "/udp" : "") }'
          ;;
      esac
      ;;
    job)
      case $second in
        '') echo 'list cancel' ;;
        cancel)
          vprovctl job list --no-legend --no-pager 2> /dev/null |
            cut -d ' ' -f 1
          ;;
      esac
      ;;
    '')
      echo 'list status cat plan apply start stop verify reload adopt' \
        'forward job monitor'
      ;;
  esac
}

_vprovctl ()
{
  local current=${COMP_WORDS[COMP_CWORD]} word verb='' second='' i
  local options='--help --version --json= --no-legend --no-pager --quiet
    --bus='

  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    # "--bus=unix:path=..." is cut into words at "=" and ":".
    if [[ $word == -* || $word == [=:] || ${COMP_WORDS[i - 1]} == [=:] ]]; then
      continue
    elif [[ -z $verb ]]; then
      verb=$word
    elif [[ -z $second ]]; then
      second=$word
    fi
  done
  COMPREPLY=()
  if [[ $current == -* ]]; then
    case $verb in
      start | stop) options+=' --no-block' ;;
      apply) options+=' --no-block --plan=' ;;
      verify) options+=' --kind=' ;;
      adopt) options+=' --print --directory=' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    [[ ${COMPREPLY[*]} == *= ]] && compopt -o nospace
  elif [[ $verb == verify ]]; then
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -W "$(_vprovctl_words "$verb" "$second")" \
                               -- "$current")
    # Behind "GUEST:" readline holds the port alone for the word.
    if declare -F __ltrim_colon_completions > /dev/null; then
      __ltrim_colon_completions "$current"
    fi
  fi
} && complete -F _vprovctl vprovctl
