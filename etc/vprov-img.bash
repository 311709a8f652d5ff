# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for vprov-img: what its own help lists

_vprov_img_options ()
{
  vprov-img "$1" --help 2> /dev/null |
    grep -oE -e '(^|[^A-Za-z0-9-])--?[A-Za-z][a-z-]*=?' | grep -oE -e '--?[A-Za-z].*'
}

_vprov_img ()
{
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  local verb=${COMP_WORDS[1]} words=''

  if ((COMP_CWORD == 1)); then
    words='--help --version '$(vprov-img --help 2> /dev/null |
      sed -n '/^Command syntax/,/^$/s/^  \([a-z]*\) .*/\1/p')
  elif [[ $before == = ]]; then # "--output=json" comes as three words
    case ${COMP_WORDS[COMP_CWORD - 2]} in
      --output) words='human json' ;;
      --progress) words=json ;;
      --preallocation) words='off metadata falloc full' ;;
    esac
  elif [[ $before == -f || $before == -F || $before == -O ]]; then
    words=$(vprov-img --help 2> /dev/null | sed -n 's/^Supported formats: //p')
  elif [[ $before == -r && $verb == check ]]; then
    words='leaks all'
  elif [[ $before == -[tT] ]]; then
    words='none writeback unsafe writethrough directsync'
  elif [[ $current == -* ]]; then
    words=$(_vprov_img_options "$verb")
  fi

  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  if ((${#COMPREPLY[@]} == 0)); then
    compopt -o default 2> /dev/null
  elif [[ ${COMPREPLY[0]} == *= ]]; then
    compopt -o nospace 2> /dev/null
  fi
}

complete -F _vprov_img vprov-img
